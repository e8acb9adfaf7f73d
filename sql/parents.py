"""Tasks that read what another task makes: when their parent is over, and when to look for more of its outputs."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ..core.states import InputDatasetState, TaskState
from .completion import WORKING
from .tables import INPUT_TYPES, datasets, tasks

#: States of a parent that has made nothing more and will not, unless somebody runs it again.
FRUITLESS = (TaskState.BROKEN, TaskState.ABORTED, TaskState.FAILED)
OVER = (TaskState.DONE, TaskState.FINISHED, *FRUITLESS)


def goes_on() -> sa.ColumnElement[bool]:
    """The condition that a task has a parent, which is not over."""
    parent = tasks.alias("parent")
    return sa.exists().where(parent.c.jeditaskid == tasks.c.parent_tid, parent.c.status.not_in(OVER))


def may_be_fed(now: datetime) -> sa.ColumnElement[bool]:
    """The condition that inputs of a task are to be looked up: for the first time, or because its parent makes more.

    A task that only waits for its parent (it is `pending` without a time) is left alone until that is over. One that
    was at work and is `pending`, after a lookup that failed or without a queue, goes on to be fed.
    """
    first = sa.or_(
        tasks.c.status == TaskState.DEFINED,
        sa.and_(
            tasks.c.status == TaskState.PENDING,
            tasks.c.old_status == TaskState.DEFINED,
            sa.or_(tasks.c.next_round_at.is_not(None), ~goes_on()),
        ),
    )
    due = sa.or_(datasets.c.next_lookup_at <= now, ~goes_on())
    more = sa.exists().where(datasets.c.jeditaskid == tasks.c.jeditaskid, growing(), due)
    held_up = sa.and_(tasks.c.status == TaskState.PENDING, tasks.c.old_status.in_(WORKING))
    return sa.or_(first, sa.and_(sa.or_(tasks.c.status.in_(WORKING), held_up), more))


def growing() -> sa.ColumnElement[bool]:
    """The condition that a dataset is a main input to which a parent still adds."""
    return sa.and_(
        datasets.c.is_master,
        datasets.c.status == InputDatasetState.TOUPDATE,
        datasets.c.next_lookup_at.is_not(None),
    )


def outputs(tx: sa.Connection, jeditaskid: int) -> dict[str, int]:
    """The datasets that a task makes, with how many files are in them: {name: n}."""
    statement = sa.select(datasets.c.dataset_name, sa.func.sum(datasets.c.n_files_finished)).where(
        datasets.c.jeditaskid == jeditaskid, datasets.c.type.not_in(INPUT_TYPES)
    )
    return {name: int(n) for name, n in tx.execute(statement.group_by(datasets.c.dataset_name))}
