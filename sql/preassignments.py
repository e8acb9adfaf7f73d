"""Tasks that are tied to a queue for a while, because it is empty (manual ch. 21.1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import TaskState
from .tables import datasets, preassignments, tasks

#: States of tasks that jobs may be made of.
FILLING = (TaskState.READY, TaskState.SCOUTED, TaskState.RUNNING, TaskState.THROTTLED)
#: States of a task that is tied: it may be held up for a while.
WORKING = (*FILLING, TaskState.PENDING, TaskState.PAUSED, TaskState.SCOUTING)
_FREE = sa.or_(tasks.c.status.in_(FILLING), (tasks.c.status == TaskState.PENDING) & tasks.c.old_status.in_(FILLING))


def with_ready_inputs(
    tx: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], *, limit: int
) -> list[sa.Row[Any]]:
    """Tasks with inputs that no job was made of, best priority first: their columns, n_ready and n_remaining files."""
    unused = datasets.c.n_files - datasets.c.n_files_used - datasets.c.n_files_missing
    ended = datasets.c.n_files_finished + datasets.c.n_files_failed + datasets.c.n_files_missing
    statement = (
        sa.select(tasks, unused.label("n_ready"), (datasets.c.n_files - ended).label("n_remaining"))
        .join(datasets, sa.and_(datasets.c.jeditaskid == tasks.c.jeditaskid, datasets.c.is_master))
        .where(_FREE, unused > 0, *conditions)
        .order_by(tasks.c.current_priority.desc(), tasks.c.jeditaskid)
        .limit(limit)
    )
    return list(tx.execute(statement))


def every(tx: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]]) -> list[sa.Row[Any]]:
    """What is pre-assigned, or was and is refused: jeditaskid, queue, at, is_refused, and the task's resource_type,
    status and site."""
    statement = (
        sa.select(preassignments, tasks.c.resource_type, tasks.c.status, tasks.c.site)
        .join(tasks, tasks.c.jeditaskid == preassignments.c.jeditaskid)
        .where(*conditions)
        .order_by(preassignments.c.jeditaskid)
    )
    return list(tx.execute(statement))


def enter(tx: sa.Connection, jeditaskid: int, queue: str, *, now: datetime) -> bool:
    """Tie a task to a queue, unless it is tied to one already or no jobs are made of it any more; says whether."""
    free = sa.update(tasks).where(tasks.c.jeditaskid == jeditaskid, tasks.c.site.is_(None), _FREE)
    if tx.execute(free.values(site=queue, next_round_at=None, modified_at=now)).rowcount == 0:
        return False
    tx.execute(sa.delete(preassignments).where(preassignments.c.jeditaskid == jeditaskid))  # refused by another queue
    tx.execute(sa.insert(preassignments).values(jeditaskid=jeditaskid, queue=queue, at=now))
    return True


def remove(tx: sa.Connection, jeditaskid: int, queue: str, *, now: datetime, is_refused: bool = False) -> None:
    """Untie a task; a site that its owner has named meanwhile stays. It is remembered if the queue has refused it."""
    its_own = preassignments.c.jeditaskid == jeditaskid
    if is_refused:
        tx.execute(sa.update(preassignments).where(its_own).values(is_refused=True))
    else:
        tx.execute(sa.delete(preassignments).where(its_own))
    tied = sa.update(tasks).where(tasks.c.jeditaskid == jeditaskid, tasks.c.site == queue)
    tx.execute(tied.values(site=None, modified_at=now))
