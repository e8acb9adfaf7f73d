"""Counts of jobs by queue, share, resource type, label, state and work queue, kept so that readers need not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..core.states import JOBS, LEASED, JobState
from .generation import NewJob
from .jobs import is_in
from .tables import given_cores, job_counts, jobs, tasks, work_queues

#: Up to so many jobs are counted within some milliseconds.
FEW = 20_000
#: Kept counts that are older have nobody any more who keeps them.
KEPT = timedelta(minutes=5)
GOING = [state for state in JOBS.rows if state not in JOBS.final]
_KEYS = ("queue", "gshare", "resource_type", "prod_source_label", "status", "work_queue_id")


def replace(tx: sa.Connection, *, now: datetime) -> None:
    """Replace all counts by those of the live jobs; readers see the old counts or the new ones, never a mixture.

    What servers gave to pilots before is in the new counts, and forgotten. One statement looks at jobs and kept counts
    at the same moment and adds the differences to these, so that what others `add` meanwhile stays, and each job is
    counted once. Two that replace at once would both add them: on PostgreSQL one waits. Who adds waits only while the
    differences are entered.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("LOCK TABLE job_counts IN SHARE UPDATE EXCLUSIVE MODE"))
    keys: list[Any] = [jobs.c[key] for key in _KEYS[:-1]]
    figures = (sa.func.count().label("n_jobs"), sa.func.sum(jobs.c.core_count).label("n_cores"))
    counted = sa.select(*keys, sa.literal_column("0").label("work_queue_id"), *figures)
    if tx.execute(sa.select(work_queues.c.queue_id).limit(1)).first() is not None:  # else nobody has to look at tasks
        keys.append(sa.func.coalesce(tasks.c.work_queue_id, sa.literal_column("0")))
        counted = sa.select(*keys[:-1], keys[-1].label("work_queue_id"), *figures).outerjoin_from(
            jobs, tasks, tasks.c.jeditaskid == jobs.c.jeditaskid
        )
    kept = sa.select(*(job_counts.c[key] for key in _KEYS), -job_counts.c.n_jobs, -job_counts.c.n_cores)
    both = sa.union_all(counted.group_by(*keys), kept).subquery()
    by_key = [both.c[key] for key in _KEYS]
    changes = sa.select(
        *by_key,
        *(sa.cast(sa.func.sum(both.c[name]), sa.BigInteger) for name in _FIGURES),
        sa.literal(now, job_counts.c.counted_at.type),
    )
    _add(tx, changes.group_by(*by_key).order_by(*(_in_order(tx, column) for column in by_key)), "counted_at")
    tx.execute(sa.delete(job_counts).where(job_counts.c.n_jobs == 0))
    tx.execute(sa.delete(given_cores).where(given_cores.c.counted_at < now))


def add(
    tx: sa.Connection, some: Sequence[NewJob], *, status: JobState, work_queue_id: int | None, now: datetime
) -> None:
    """Enter new jobs in the counts, so that whoever looks at these before the next count knows of them.

    Call it last in a transaction: it holds the counts of that queue.
    """
    sums: Counter[tuple[Any, ...]] = Counter()
    cores: Counter[tuple[Any, ...]] = Counter()
    for job in some:
        key = (*(status if name == "status" else job.columns[name] for name in _KEYS[:-1]), work_queue_id or 0)
        sums[key] += 1
        cores[key] += job.columns["core_count"]
    last = sa.select(sa.func.max(job_counts.c.counted_at)).scalar_subquery()
    counted_at = sa.func.coalesce(last, sa.literal(now, job_counts.c.counted_at.type))
    columns = [job_counts.c[name] for name in (*_KEYS, *_FIGURES)]
    for key in sorted(sums):
        new = zip((*key, sums[key], cores[key]), columns, strict=True)
        _add(tx, sa.select(*(sa.literal(value, column.type) for value, column in new), counted_at))


#: What is counted of the jobs of each key.
_FIGURES = ("n_jobs", "n_cores")


def _in_order(tx: sa.Connection, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A column to sort by as Python sorts: all hold the counts in one order, so that nobody waits in a circle."""
    in_words = isinstance(column.type, sa.String) and tx.dialect.name == "postgresql"
    return column.collate("C") if in_words else column


def _add(tx: sa.Connection, changes: sa.Select[Any], *also_set: str) -> None:
    """Add rows of keys, jobs and cores to the counts, entering those that there are not."""
    insert = postgresql.insert(job_counts) if tx.dialect.name == "postgresql" else sqlite.insert(job_counts)
    entered = insert.from_select([*_KEYS, *_FIGURES, "counted_at"], changes)
    sums = {name: job_counts.c[name] + entered.excluded[name] for name in _FIGURES}
    newer = {name: entered.excluded[name] for name in also_set}
    tx.execute(entered.on_conflict_do_update(index_elements=_KEYS, set_={**sums, **newer}))


def set_given(tx: sa.Connection, server: str, cores: Mapping[str, int], *, counted_at: datetime) -> None:
    """Enter what a server process has given to pilots since the jobs were counted, by share, in place of what it said
    before."""
    tx.execute(sa.delete(given_cores).where(given_cores.c.server == server))
    rows = [{"server": server, "gshare": share, "n_cores": n, "counted_at": counted_at} for share, n in cores.items()]
    if rows:
        tx.execute(sa.insert(given_cores), rows)


def given_by_others(tx: sa.Connection, server: str, *, counted_at: datetime) -> dict[str, int]:
    """What all other server processes have given to pilots since the jobs were counted: {share: cores}."""
    statement = (
        sa.select(given_cores.c.gshare, sa.func.sum(given_cores.c.n_cores))
        .where(given_cores.c.server != server, given_cores.c.counted_at == counted_at)
        .group_by(given_cores.c.gshare)
    )
    return {share: int(n) for share, n in tx.execute(statement)}


def of_queues(tx: sa.Connection) -> list[sa.Row[Any]]:
    """The kept counts, by queue."""
    return list(tx.execute(sa.select(job_counts).order_by(*(job_counts.c[key] for key in _KEYS))))


def lately(tx: sa.Connection, *, now: datetime) -> tuple[dict[str, dict[str, int]], datetime | None]:
    """Jobs that are not over by queue and state: {queue: {status: n}}, and when they were counted if not just now.

    Few jobs are counted for whoever asks; of many the kept counts are told, as long as somebody keeps them.
    """
    counted_at = counted_many(tx, now=now)
    if counted_at is None:
        return by_queue_now(tx), None
    kept = by_queue(tx)
    going = {queue: {status: n for status, n in kept[queue].items() if status in GOING} for queue in kept}
    return {queue: by_status for queue, by_status in going.items() if by_status}, counted_at


def counted_many(tx: sa.Connection, *, now: datetime) -> datetime | None:
    """When jobs were counted last, if they are too many to count them for whoever asks."""
    counted_at: datetime | None = tx.scalar(sa.select(sa.func.min(job_counts.c.counted_at)))
    if counted_at is None or now - counted_at >= KEPT:
        return None
    return counted_at if (tx.scalar(sa.select(sa.func.sum(job_counts.c.n_jobs))) or 0) > FEW else None


def running_now(tx: sa.Connection, name: str) -> list[sa.Row[Any]]:
    """Jobs that run by a column of theirs, counted now: `value`, `n_jobs`, `n_cores`."""
    figures = (sa.func.count().label("n_jobs"), sa.func.sum(jobs.c.core_count).label("n_cores"))
    statement = sa.select(jobs.c[name].label("value"), *figures).where(jobs.c.status == JobState.RUNNING)
    return list(tx.execute(statement.where(is_in(*LEASED)).group_by(jobs.c[name])))


def by_queue_now(tx: sa.Connection, queue: str | None = None) -> dict[str, dict[str, int]]:
    """Jobs that are not over by queue, or of one queue, and state, counted now: {queue: {status: n}}."""
    statement = (
        sa.select(jobs.c.queue, jobs.c.status, sa.func.count())
        .where(jobs.c.status.in_(GOING))
        .group_by(jobs.c.queue, jobs.c.status)
    )
    if queue is not None:
        statement = statement.where(jobs.c.queue == queue)
    counts: dict[str, dict[str, int]] = {}
    for queue, status, n in tx.execute(statement):
        counts.setdefault(queue, {})[status] = n
    return counts


def by_queue(tx: sa.Connection) -> dict[str, dict[str, int]]:
    """The kept counts summed up by queue and state: {queue: {status: n}}."""
    total = sa.func.sum(job_counts.c.n_jobs)
    statement = sa.select(job_counts.c.queue, job_counts.c.status, total).group_by(
        job_counts.c.queue, job_counts.c.status
    )
    counted: dict[str, dict[str, int]] = {}
    for queue, status, n in tx.execute(statement):
        counted.setdefault(queue, {})[status] = int(n)
    return counted
