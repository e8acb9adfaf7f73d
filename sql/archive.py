"""What is old: jobs move out of the way of the live ones and are forgotten later, and so are sandboxes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from ..core.states import JOBS, TaskState
from .engine import skip_locked
from .jobs import batches
from .tables import (
    archived_jobs,
    job_events,
    job_files,
    job_metadata,
    job_params,
    job_reports,
    jobs,
    sandboxes,
    task_params,
    tasks,
)
from .types import LongText

#: Tasks in these states have no use for their jobs any more, unless a command revives them: that makes new jobs.
OVER = (TaskState.DONE, TaskState.FINISHED, TaskState.FAILED, TaskState.ABORTED, TaskState.BROKEN)


def archive_jobs(tx: sa.Connection, *, before: datetime, limit: int) -> int:
    """Move jobs to the archive that ended before a moment and whose task is over; returns how many."""
    old = (
        sa.select(jobs.c.pandaid)
        .join(tasks, tasks.c.jeditaskid == jobs.c.jeditaskid)
        .where(
            tasks.c.status.in_(OVER),
            tasks.c.state_changed_at < before,
            jobs.c.status.in_(list(JOBS.final)),
            jobs.c.state_changed_at < before,
        )
        .order_by(jobs.c.pandaid)
        .limit(limit)
    )
    ids = list(tx.scalars(old.with_for_update(of=jobs, skip_locked=True)))
    columns = list(archived_jobs.columns.keys())
    for some in batches(ids):
        chosen = sa.select(*(jobs.c[name] for name in columns)).where(jobs.c.pandaid.in_(some))
        tx.execute(sa.insert(archived_jobs).from_select(columns, chosen))
        tx.execute(sa.delete(jobs).where(jobs.c.pandaid.in_(some)))
    return len(ids)


def forget_jobs(tx: sa.Connection, *, before: datetime, limit: int) -> int:
    """Delete archived jobs that last changed before a moment, with all that was kept of them; returns how many."""
    old = (
        sa.select(archived_jobs.c.pandaid)
        .where(archived_jobs.c.modified_at < before)
        .order_by(archived_jobs.c.modified_at)
        .limit(limit)
    )
    ids = list(tx.scalars(skip_locked(old)))
    for some in batches(ids):
        _delete(tx, some)
    return len(ids)


def _delete(tx: sa.Connection, pandaids: Sequence[int]) -> None:
    for table in (job_files, job_params, job_reports, job_metadata, job_events, archived_jobs):
        tx.execute(sa.delete(table).where(table.c.pandaid.in_(pandaids)))


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
            tasks.c.status.not_in(OVER),
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
