"""Sandboxes: the archives that users uploaded for their jobs, kept as files of the cache directory."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .tables import sandboxes

#: The last use is noted only so exactly: downloads by thousands of jobs shall not write each time.
USE_NOTED_EVERY = timedelta(hours=1)


def find(tx: sa.Connection, name: str) -> sa.Row[Any] | None:
    """The sandbox of that name."""
    return tx.execute(sa.select(sandboxes).where(sandboxes.c.name == name)).first()


def find_like(tx: sa.Connection, user_name: str, size_bytes: int, checksum: str) -> sa.Row[Any] | None:
    """The user's newest sandbox with that content."""
    statement = (
        sa.select(sandboxes)
        .where(
            sandboxes.c.user_name == user_name, sandboxes.c.size_bytes == size_bytes, sandboxes.c.checksum == checksum
        )
        .order_by(sandboxes.c.created_at.desc())
        .limit(1)
    )
    return tx.execute(statement).first()


def insert(tx: sa.Connection, name: str, *, user_name: str, size_bytes: int, checksum: str, now: datetime) -> None:
    """Enter a sandbox; raises `sqlalchemy.exc.IntegrityError` when the name is taken."""
    values = {"name": name, "user_name": user_name, "size_bytes": size_bytes, "checksum": checksum}
    tx.execute(sa.insert(sandboxes).values(**values, created_at=now, last_used_at=now))


def replace(tx: sa.Connection, name: str, *, size_bytes: int, checksum: str, now: datetime) -> None:
    """Note the new content of a sandbox that was written anew."""
    values = {"size_bytes": size_bytes, "checksum": checksum, "last_used_at": now}
    tx.execute(sa.update(sandboxes).where(sandboxes.c.name == name).values(values))


def is_use_worth_noting(sandbox: sa.Row[Any], now: datetime) -> bool:
    return bool(sandbox.last_used_at < now - USE_NOTED_EVERY)


def note_use(tx: sa.Connection, name: str, *, now: datetime) -> None:
    """Keep a sandbox from being cleaned away for a while."""
    tx.execute(sa.update(sandboxes).where(sandboxes.c.name == name).values(last_used_at=now))
