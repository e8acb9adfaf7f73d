"""Commands on tasks: entered by the server, carried out by the Task Commando."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .engine import skip_locked
from .tables import commands

#: The commands of manual ch. 7.1.2. `incexec` is `reload_input` and `reactivate` on the wire.
COMMANDS = ("kill", "finish", "retry", "incexec", "pause", "resume", "avalanche", "increase_attempts")


def enqueue(
    tx: sa.Connection,
    jeditaskid: int,
    command: str,
    *,
    user_name: str,
    now: datetime,
    parameters: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> int:
    """Enter a command; returns its id."""
    statement = sa.insert(commands).values(
        jeditaskid=jeditaskid,
        command=command,
        parameters=dict(parameters or {}),
        user_name=user_name,
        status="queued",
        request_id=request_id,
        created_at=now,
    )
    return int(tx.execute(statement.returning(commands.c.commandid)).scalar_one())


def next_queued(tx: sa.Connection) -> sa.Row[Any] | None:
    """The oldest queued command, held for this transaction; none that waits behind another one of its task."""
    earlier = commands.alias("earlier")
    waits = sa.exists().where(
        earlier.c.jeditaskid == commands.c.jeditaskid,
        earlier.c.status == "queued",
        earlier.c.commandid < commands.c.commandid,
    )
    oldest = sa.select(commands).where(commands.c.status == "queued", ~waits).order_by(commands.c.commandid).limit(1)
    return tx.execute(skip_locked(oldest)).first()


def answer(tx: sa.Connection, commandid: int, *, done: bool, text: str, now: datetime) -> None:
    """Close a command with what came of it."""
    tx.execute(
        sa.update(commands)
        .where(commands.c.commandid == commandid)
        .values(status="done" if done else "refused", answer=text[:1024], done_at=now)
    )
