"""Ends of tasks that are to be told to their users: entered with the end itself, told later, each once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import TaskState
from .engine import skip_locked
from .tables import notifications

#: States whose beginning is told: nothing more happens by itself.
TOLD = (
    TaskState.DONE,
    TaskState.FINISHED,
    TaskState.FAILED,
    TaskState.BROKEN,
    TaskState.ABORTED,
    TaskState.EXHAUSTED,
)


def add(tx: sa.Connection, jeditaskid: int, status: TaskState, why: str, *, now: datetime) -> None:
    """Enter an end of a task, in the transaction that ends it."""
    tx.execute(sa.insert(notifications).values(jeditaskid=jeditaskid, status=status, why=why[:1024], at=now))


def claim(tx: sa.Connection, *, until: datetime, now: datetime, limit: int) -> list[sa.Row[Any]]:
    """Take ends that are to be told now, the oldest first; whoever takes them dies, and they are free again `until`."""
    due = sa.or_(notifications.c.next_try_at.is_(None), notifications.c.next_try_at <= now)
    free = (
        sa.select(notifications.c.notificationid)
        .where(notifications.c.delivery == "waiting", due)
        .order_by(notifications.c.notificationid)
        .limit(limit)
    )
    statement = (
        sa.update(notifications)
        .where(notifications.c.notificationid.in_(sa.select(skip_locked(free).cte("free").c.notificationid)))
        .values(attempts=notifications.c.attempts + 1, next_try_at=until)
        .returning(*notifications.c)
    )
    return sorted(tx.execute(statement).all(), key=lambda row: int(row.notificationid))


def settle(tx: sa.Connection, notificationid: int, delivery: str, how: str, *, now: datetime) -> None:
    """Note that an end was `told`, or that telling it was `given_up`, and how or why."""
    values = {"delivery": delivery, "how": how[:512], "told_at": now if delivery == "told" else None}
    tx.execute(sa.update(notifications).where(notifications.c.notificationid == notificationid).values(values))


def put_off(tx: sa.Connection, notificationid: int, why: str, *, until: datetime) -> None:
    """Try to tell an end again later."""
    tx.execute(
        sa.update(notifications)
        .where(notifications.c.notificationid == notificationid)
        .values(how=why[:512], next_try_at=until)
    )


def of_task(tx: sa.Connection, jeditaskid: int) -> list[sa.Row[Any]]:
    """The ends of a task, the first one first."""
    statement = sa.select(notifications).where(notifications.c.jeditaskid == jeditaskid)
    return list(tx.execute(statement.order_by(notifications.c.notificationid)))
