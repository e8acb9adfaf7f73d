"""Tasks that are forgotten: long over, and without jobs since the archive has forgotten these."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from . import bulk
from .engine import skip_locked, spelled_out
from .jobs import batches
from .tables import TASKS_OVER, decisions, events, files, task_events, tasks
from .views import all_jobs

#: Tasks that one page looks at.
TASKS = 50


@dataclass(frozen=True)
class ForgottenPage:
    """How many tasks a page has forgotten, how many rows of files before, and whether there is more to do."""

    tasks: int
    files: int
    more: bool


def forget_tasks(tx: sa.Connection, *, before: datetime, limit: int) -> ForgottenPage:
    """Delete tasks that are over and last changed before a moment, with all that was kept of them; the data that they
    made stay.

    Each transaction deletes at most `limit` rows of files: a task goes when its files have gone. Tasks that have a job
    still, live or archived, stay, and so do parents of tasks that stay.
    """
    due = _due(tx, before)
    if not due:
        return ForgottenPage(0, 0, more=False)
    n_files = _forget_files(tx, due, limit)
    left = set(tx.scalars(sa.select(files.c.jeditaskid).where(files.c.jeditaskid.in_(due)).distinct()))
    gone = [jeditaskid for jeditaskid in due if jeditaskid not in left]
    for table in (task_events, decisions, tasks):
        tx.execute(sa.delete(table).where(table.c.jeditaskid.in_(gone)))
    return ForgottenPage(len(gone), n_files, more=bool(left) or len(due) == TASKS)


def _due(tx: sa.Connection, before: datetime) -> list[int]:
    """The index by `modified_at` has what is old at its beginning, and what is forgotten no more."""
    child = tasks.alias("child")
    has_child = sa.exists().where(child.c.parent_tid == tasks.c.jeditaskid)
    has_job = sa.exists().where(all_jobs.c.jeditaskid == tasks.c.jeditaskid)
    statement = (
        sa.select(tasks.c.jeditaskid)
        .where(
            spelled_out(tasks.c.status, TASKS_OVER),
            tasks.c.jobs_archived_at.is_not(None),
            tasks.c.modified_at < before,
            ~has_child,
            ~has_job,
        )
        .order_by(tasks.c.modified_at)
        .limit(TASKS)
    )
    return list(tx.scalars(skip_locked(statement)))


def _forget_files(tx: sa.Connection, due: list[int], limit: int) -> int:
    chosen = sa.select(files.c.fileid).where(files.c.jeditaskid.in_(due)).limit(limit)
    ids = list(tx.scalars(chosen))
    for some in batches(ids):
        tx.execute(sa.delete(events).where(bulk.among(tx, events.c.fileid, some)))
        tx.execute(sa.delete(files).where(bulk.among(tx, files.c.fileid, some)))
    return len(ids)
