"""What is old: jobs move out of the way of the live ones and are forgotten later, and so are sandboxes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import JOBS
from . import archive_partitions, bulk
from .engine import skip_locked, spelled_out
from .jobs import batches
from .tables import (
    TASKS_OVER,
    archived_jobs,
    job_events,
    job_files,
    job_metadata,
    job_params,
    job_records,
    job_reports,
    jobs,
    sandboxes,
    task_params,
    tasks,
)
from .types import LongText


@dataclass(frozen=True)
class ArchivedPage:
    """What a page of tasks that are over has given to the archive, and where the next one begins."""

    jobs: int
    tasks: int  # of which no job is left among the live ones
    more: bool
    last: tuple[datetime, int] | None  # moment and id of the task after which it begins; None: at the first


def archive_jobs(
    tx: sa.Connection, *, before: datetime, now: datetime, limit: int, after: tuple[datetime, int] | None = None
) -> ArchivedPage:
    """Move jobs to the archive that ended before a moment and whose task is over since then too.

    The choice begins at those tasks that are over and still have live jobs, so that it costs nothing when nothing is
    old, however many jobs and tasks there are. `limit` bounds the tasks as well as the jobs.
    """
    due = _due(tx, before, after, limit)
    old = (
        sa.select(jobs.c.pandaid)
        .where(
            bulk.among(tx, jobs.c.jeditaskid, [task.jeditaskid for task in due]),
            jobs.c.status.in_(list(JOBS.final)),
            jobs.c.state_changed_at < before,
        )
        .limit(limit)  # in no order, which would have all jobs of these tasks read for each page
    )
    ids = list(tx.scalars(skip_locked(old))) if due else []
    columns = list(archived_jobs.columns.keys())
    for some in batches(ids):
        chosen = sa.select(*(jobs.c[name] for name in columns)).where(bulk.among(tx, jobs.c.pandaid, some))
        tx.execute(sa.insert(archived_jobs).from_select(columns, chosen))
        tx.execute(sa.delete(jobs).where(bulk.among(tx, jobs.c.pandaid, some)))
    emptied = _note_emptied(tx, [task.jeditaskid for task in due], now)
    if due and len(ids) < limit:  # else the same tasks may have more
        after = (due[-1].state_changed_at, due[-1].jeditaskid)
    return ArchivedPage(len(ids), emptied, more=limit in (len(ids), len(due)), last=after)


def _due(tx: sa.Connection, before: datetime, after: tuple[datetime, int] | None, limit: int) -> list[sa.Row[Any]]:
    """Tasks that are over since before a moment and not archived, the first over first, held for this transaction."""
    over = spelled_out(tasks.c.status, TASKS_OVER)
    statement = (
        sa.select(tasks.c.jeditaskid, tasks.c.state_changed_at)
        .where(tasks.c.jobs_archived_at.is_(None), over, tasks.c.state_changed_at < before)
        .order_by(tasks.c.state_changed_at, tasks.c.jeditaskid)
        .limit(limit)
    )
    if after is not None:
        moment, jeditaskid = after
        same = sa.and_(tasks.c.state_changed_at == moment, tasks.c.jeditaskid > jeditaskid)
        statement = statement.where(tasks.c.state_changed_at >= moment, sa.or_(tasks.c.state_changed_at > moment, same))
    return list(tx.execute(statement.with_for_update(skip_locked=True, key_share=True)))


def _note_emptied(tx: sa.Connection, jeditaskids: Sequence[int], now: datetime) -> int:
    """Note of those of the tasks that have no live job any more that they are archived; returns how many."""
    if not jeditaskids:
        return 0
    left = sa.exists().where(jobs.c.jeditaskid == tasks.c.jeditaskid)
    statement = sa.update(tasks).where(bulk.among(tx, tasks.c.jeditaskid, jeditaskids), ~left)
    return tx.execute(statement.values(jobs_archived_at=now)).rowcount


def forget_jobs(tx: sa.Connection, *, before: datetime, limit: int) -> int:
    """Delete archived jobs that last changed before a moment, with all that was kept of them; returns how many.

    Where the archive has partitions (`sql/archive_partitions.py`) only those of the months before: what is left of
    them when whole months have gone.
    """
    if archive_partitions.exist(tx):
        before = archive_partitions.month_of(before)
    old = (
        sa.select(archived_jobs.c.pandaid)
        .where(archived_jobs.c.modified_at < before)
        .order_by(archived_jobs.c.modified_at)
        .limit(limit)
    )
    ids = list(tx.scalars(skip_locked(old)))
    for some in batches(ids):
        _delete(tx, some, (*_KEPT_OF_JOBS, archived_jobs))
    return len(ids)


def forget_detached(tx: sa.Connection, *, limit: int) -> int:
    """Delete what was kept of the next jobs of months that were taken out of the archive; returns of how many."""
    ids = archive_partitions.detached_page(tx, limit=limit)
    for some in batches(ids):
        _delete(tx, some, _KEPT_OF_JOBS)
    return len(ids)


#: What else there is of a job, by its id.
_KEPT_OF_JOBS = (job_files, job_params, job_reports, job_records, job_metadata, job_events)


def _delete(tx: sa.Connection, pandaids: Sequence[int], of: Sequence[sa.Table]) -> None:
    for table in of:
        tx.execute(sa.delete(table).where(bulk.among(tx, table.c.pandaid, pandaids)))


def unused_sandboxes(tx: sa.Connection, *, before: datetime, after: str = "", limit: int) -> list[str]:
    """Sandboxes that were last used before a moment, by name from the one after `after` on."""
    statement = (
        sa.select(sandboxes.c.name)
        .where(sandboxes.c.last_used_at < before, sandboxes.c.name > after)
        .order_by(sandboxes.c.name)
        .limit(limit)
    )
    return list(tx.scalars(statement))


def forget_sandbox(tx: sa.Connection, name: str, *, before: datetime) -> bool:
    """Delete the row of a sandbox unless it was used since, or a task that is not over names it in its parameters."""
    needed = (
        sa.select(sa.true())
        .join(task_params, task_params.c.jeditaskid == tasks.c.jeditaskid)
        .where(
            tasks.c.status.not_in(TASKS_OVER),
            sa.cast(task_params.c.parameters, LongText).contains(name, autoescape=True),
        )
        .limit(1)
    )
    if tx.execute(needed).first() is not None:
        return False
    statement = sa.delete(sandboxes).where(sandboxes.c.name == name, sandboxes.c.last_used_at < before)
    return tx.execute(statement).rowcount == 1


def known_sandboxes(tx: sa.Connection, names: Collection[str]) -> set[str]:
    """Those of the names that are sandboxes."""
    known: set[str] = set()
    for some in batches(sorted(names)):
        known.update(tx.scalars(sa.select(sandboxes.c.name).where(sandboxes.c.name.in_(some))))
    return known
