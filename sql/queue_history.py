"""The history of queues: who changed what, when, from which value to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .tables import queue_history


def entry(
    queue: str,
    what: str,
    changed: tuple[Mapping[str, Any], Mapping[str, Any]],
    *,
    actor: str,
    now: datetime,
    source: str | None = None,
) -> dict[str, Any]:
    """A row to be: `changed` are the values before and after, of the keys that differ."""
    return {
        "queue": queue,
        "at": now,
        "actor": actor[:128],
        "what": what,
        "source": source[:512] if source else None,
        "before": dict(changed[0]),
        "after": dict(changed[1]),
    }


def record(tx: sa.Connection, entries: Sequence[Mapping[str, Any]]) -> None:
    """Enter rows made by `entry`."""
    if entries:
        tx.execute(sa.insert(queue_history), list(entries))


def of_queue(tx: sa.Connection, queue: str, *, limit: int = 50) -> list[sa.Row[Any]]:
    """The last changes of a queue, newest first."""
    statement = sa.select(queue_history).where(queue_history.c.queue == queue)
    return list(tx.execute(statement.order_by(queue_history.c.id.desc()).limit(limit)))


def forget(tx: sa.Connection, *, before: datetime) -> int:
    """Remove what is older; returns how many entries."""
    return tx.execute(sa.delete(queue_history).where(queue_history.c.at < before)).rowcount
