"""The work that is there for queues: waiting jobs by what they ask for, and tasks with inputs left."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..core.states import QUEUED, TASKS
from .tables import datasets, jobs, tasks


def waiting_jobs(tx: sa.Connection) -> list[sa.Row[Any]]:
    """Jobs that no pilot has, counted by task, queue and what they ask for; `example` is the id of one of them."""
    keys = (jobs.c.jeditaskid, jobs.c.queue, jobs.c.core_count, jobs.c.min_ram_count_mb, jobs.c.max_walltime_seconds)
    counted = sa.func.count().label("n_jobs"), sa.func.min(jobs.c.pandaid).label("example")
    statement = sa.select(*keys, *counted).where(jobs.c.status.in_(list(QUEUED))).group_by(*keys).order_by(*keys)
    return list(tx.execute(statement))


def open_tasks(tx: sa.Connection) -> list[sa.Row[Any]]:
    """Tasks that are not over, with `n_files_left`: inputs of which no job was made yet."""
    return list(tx.execute(_open_tasks().order_by(tasks.c.jeditaskid)))


def tasks_with_inputs(tx: sa.Connection, *, limit: int) -> list[sa.Row[Any]]:
    """Tasks that are not over and have inputs left, those of the highest priority first."""
    statement = _open_tasks().order_by(tasks.c.current_priority.desc(), tasks.c.jeditaskid).limit(limit)
    return list(tx.execute(statement.where(sa.column("n_files_left") > 0)))


def _open_tasks() -> sa.Select[Any]:
    left = sa.func.sum(datasets.c.n_files - datasets.c.n_files_used - datasets.c.n_files_missing)
    by_task = (
        sa.select(datasets.c.jeditaskid, left.label("n_files_left"))
        .where(datasets.c.is_master)
        .group_by(datasets.c.jeditaskid)
        .subquery()
    )
    not_over = [state for state in TASKS.rows if state not in TASKS.final]
    return (
        sa.select(tasks, sa.func.coalesce(by_task.c.n_files_left, 0).label("n_files_left"))
        .outerjoin(by_task, by_task.c.jeditaskid == tasks.c.jeditaskid)
        .where(tasks.c.status.in_(not_over))
    )
