"""Counts of jobs by queue, share, resource type, label, state and work queue, kept so that readers need not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.states import JOBS, JobState
from .generation import NewJob
from .tables import given_cores, job_counts, jobs, tasks, work_queues

#: Up to so many jobs are counted within some milliseconds.
FEW = 20_000
#: Kept counts that are older have nobody any more who keeps them.
KEPT = timedelta(minutes=5)
GOING = [state for state in JOBS.rows if state not in JOBS.final]
_KEYS = ("queue", "gshare", "resource_type", "prod_source_label", "status")


def replace(tx: sa.Connection, *, now: datetime) -> None:
    """Replace all counts by those of the live jobs; readers see the old counts or the new ones, never a mixture.

    What servers gave to pilots before is in the new counts, and forgotten. On PostgreSQL nobody adds jobs to the counts
    meanwhile (`add`), so that each job is counted once.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("LOCK TABLE job_counts IN SHARE ROW EXCLUSIVE MODE"))
    keys: list[sa.ColumnElement[Any]] = [jobs.c[key] for key in _KEYS]
    names = [*_KEYS, "n_jobs", "n_cores", "counted_at"]
    counted = sa.select(
        *keys, sa.func.count(), sa.func.sum(jobs.c.core_count), sa.literal(now, job_counts.c.counted_at.type)
    )
    if tx.execute(sa.select(work_queues.c.queue_id).limit(1)).first() is not None:  # else nobody has to look at tasks
        of_task = sa.func.coalesce(tasks.c.work_queue_id, sa.literal_column("0"))
        counted = counted.add_columns(of_task).outerjoin_from(jobs, tasks, tasks.c.jeditaskid == jobs.c.jeditaskid)
        keys, names = [*keys, of_task], [*names, "work_queue_id"]
    tx.execute(sa.delete(job_counts))
    tx.execute(sa.insert(job_counts).from_select(names, counted.group_by(*keys)))
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
        key = (*(status if name == "status" else job.columns[name] for name in _KEYS), work_queue_id or 0)
        sums[key] += 1
        cores[key] += job.columns["core_count"]
    for key in sorted(sums):
        _add(tx, dict(zip((*_KEYS, "work_queue_id"), key, strict=True)), sums[key], cores[key], now)


def _add(tx: sa.Connection, key: Mapping[str, Any], n_jobs: int, n_cores: int, now: datetime) -> None:
    more = {"n_jobs": job_counts.c.n_jobs + n_jobs, "n_cores": job_counts.c.n_cores + n_cores}
    update = sa.update(job_counts).where(*(job_counts.c[name] == value for name, value in key.items())).values(more)
    if tx.execute(update).rowcount:
        return
    counted_at = tx.scalar(sa.select(sa.func.min(job_counts.c.counted_at))) or now
    try:
        with tx.begin_nested():
            tx.execute(sa.insert(job_counts).values(**key, n_jobs=n_jobs, n_cores=n_cores, counted_at=counted_at))
    except sa.exc.IntegrityError:  # somebody else entered the first ones
        tx.execute(update)


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
    counted_at = tx.scalar(sa.select(sa.func.min(job_counts.c.counted_at)))
    if counted_at is not None and now - counted_at < KEPT:
        kept = by_queue(tx)
        if sum(n for by_status in kept.values() for n in by_status.values()) > FEW:
            going = {queue: {status: n for status, n in kept[queue].items() if status in GOING} for queue in kept}
            return {queue: by_status for queue, by_status in going.items() if by_status}, counted_at
    return by_queue_now(tx), None


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
