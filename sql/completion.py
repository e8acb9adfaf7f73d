"""Noticing that a task has nothing left to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import Stale
from ..core.states import InputDatasetState, TaskState
from . import bulk
from . import datasets as datasets_sql
from . import tasks as tasks_sql
from .jobs import batches
from .tables import datasets, tasks

#: States in which jobs are generated and run.
WORKING = (
    TaskState.READY,
    TaskState.SCOUTING,
    TaskState.SCOUTED,
    TaskState.RUNNING,
    TaskState.PASSED,
    TaskState.THROTTLED,
)


def complete_tasks(tx: sa.Connection, jeditaskids: Iterable[int], *, actor: str, now: datetime) -> list[int]:
    """Move those of the tasks to `prepared` whose inputs are all accounted for; returns which.

    Call it in a transaction of its own, after the one that booked the last job: it locks tasks, and the Job Generator
    locks tasks before datasets, while booking locks datasets.
    """
    completed = []
    for jeditaskid in _seem_complete(tx, sorted(set(jeditaskids))):
        row = tasks_sql.get_task(tx, jeditaskid, lock=True)
        working = row.status in WORKING or (row.status == TaskState.PENDING and row.old_status in WORKING)
        if not working or not _accounted_for(tx, jeditaskid):
            continue
        why = "every input is accounted for"
        try:
            tasks_sql.move_task(tx, tasks_sql.ref(row), TaskState.PREPARED, actor=actor, why=why, now=now)
        except Stale:
            continue  # a command came first
        completed.append(jeditaskid)
    return completed


def overlooked(tx: sa.Connection, *, limit: int) -> list[int]:
    """Tasks that are complete but still at work, because whoever booked their last job died before saying so."""
    return list(tx.scalars(_complete_but_at_work().limit(limit)))


def _seem_complete(tx: sa.Connection, jeditaskids: Sequence[int]) -> list[int]:
    """Those of the tasks that are worth a lock: most are far from complete when some of their jobs are booked."""
    found: list[int] = []
    for some in batches(jeditaskids):
        found += tx.scalars(_complete_but_at_work().where(bulk.among(tx, tasks.c.jeditaskid, some)))
    return found


def _complete_but_at_work() -> sa.Select[Any]:
    return (
        sa.select(tasks.c.jeditaskid)
        .distinct()
        .join(datasets, sa.and_(datasets.c.jeditaskid == tasks.c.jeditaskid, datasets.c.is_master))
        .where(tasks.c.status.in_([*WORKING, TaskState.PENDING]), _done_condition())
        .order_by(tasks.c.jeditaskid)
    )


def reached_goals(tx: sa.Connection, *, limit: int) -> list[sa.Row[Any]]:
    """Tasks at work that have processed the percentage of their inputs that is enough (`goal`), and not yet all."""
    goal = tasks.c.split_rule["goal"].as_float()
    enough = sa.and_(datasets.c.n_files > 0, datasets.c.n_files_finished * 100 >= goal * datasets.c.n_files)
    held_up = sa.and_(tasks.c.status == TaskState.PENDING, tasks.c.old_status == TaskState.RUNNING)
    at_work = sa.or_(tasks.c.status.in_([TaskState.RUNNING, TaskState.THROTTLED]), held_up)
    known = datasets.c.status != InputDatasetState.TOUPDATE
    statement = (
        sa.select(tasks, datasets.c.n_files, datasets.c.n_files_finished)
        .join(datasets, sa.and_(datasets.c.jeditaskid == tasks.c.jeditaskid, datasets.c.is_master))
        .where(at_work, goal.is_not(None), enough, known, sa.not_(_done_condition()))
        .order_by(tasks.c.jeditaskid)
        .limit(limit)
    )
    return list(tx.execute(statement))


def pass_goals(tx: sa.Connection, *, limit: int, actor: str, now: datetime) -> int:
    """Make no more jobs of tasks that have reached their goals; returns how many. Their last jobs are awaited."""
    passed = 0
    for row in reached_goals(tx, limit=limit):
        held = tasks_sql.ref(row)
        why = f"{row.n_files_finished} of {row.n_files} inputs are processed, which is enough"
        try:
            if held.status is not TaskState.RUNNING:
                held = tasks_sql.move_task(tx, held, TaskState.RUNNING, actor=actor, why=why, now=now)
            tasks_sql.move_task(tx, held, TaskState.PASSED, actor=actor, why=why, now=now, error_dialog=None)
        except Stale:
            continue  # a command or an agent came first
        passed += 1
    return passed


def _done_condition() -> sa.ColumnElement[bool]:
    ended = datasets.c.n_files_finished + datasets.c.n_files_failed + datasets.c.n_files_missing
    known = datasets.c.status != InputDatasetState.TOUPDATE  # else a parent still adds to it
    return sa.and_(datasets.c.n_files > 0, ended >= datasets.c.n_files, known)


def _accounted_for(tx: sa.Connection, jeditaskid: int) -> bool:
    masters = [dataset for dataset in datasets_sql.inputs(tx, jeditaskid) if dataset.is_master]
    return bool(masters) and all(
        dataset.n_files > 0
        and dataset.status != InputDatasetState.TOUPDATE
        and dataset.n_files_finished + dataset.n_files_failed + dataset.n_files_missing >= dataset.n_files
        for dataset in masters
    )
