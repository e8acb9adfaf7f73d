"""What job brokers say of queues, summed up by the hour: for how often each fits, and which gates keep it out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from . import bulk
from .tables import queue_verdicts

KEYS = ("queue", "at", "gate")
_COLUMNS = (*KEYS, "n", "jeditaskid", "last_at")


def hour_of(moment: datetime) -> datetime:
    """When the hour of a moment began."""
    return moment.replace(minute=0, second=0, microsecond=0)


def add(tx: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add to the sums: rows of `queue`, `at`, `gate`, `n`, `jeditaskid` and `last_at`."""
    if not rows:
        return
    # All add in one order, so that nobody waits in a circle.
    ordered = sorted(rows, key=lambda row: tuple(row[name] for name in KEYS))
    if tx.dialect.name == "postgresql":
        tx.execute(_add_all(), bulk.as_lists(ordered))
    else:
        tx.execute(_add_each(), ordered)


@lru_cache
def _add_all() -> Any:
    columns = [queue_verdicts.c[name] for name in _COLUMNS]
    rows = bulk.given(columns)
    return _or_add(
        postgresql.insert(queue_verdicts).from_select(columns, sa.select(*(rows.c[name] for name in _COLUMNS)))
    )


@lru_cache
def _add_each() -> Any:
    return _or_add(sqlite.insert(queue_verdicts).values({name: sa.bindparam(name) for name in _COLUMNS}))


def _or_add(insert: Any) -> Any:
    changes = {name: insert.excluded[name] for name in ("jeditaskid", "last_at")}
    changes["n"] = queue_verdicts.c.n + insert.excluded.n
    return insert.on_conflict_do_update(index_elements=KEYS, set_=changes)


def of_queues(tx: sa.Connection, queues: Sequence[str], *, since: datetime) -> list[dict[str, Any]]:
    """What was said of queues since the hour of a moment, the most frequent first: `gate`, `n`, `last_at` and, of the
    tasks that were the last of an hour, the newest (`jeditaskid`)."""
    mine = (queue_verdicts.c.queue.in_(queues), queue_verdicts.c.at >= hour_of(since))
    gate = queue_verdicts.c.gate
    newest = [sa.func.max(queue_verdicts.c[name]).label(name) for name in ("last_at", "jeditaskid")]
    n = sa.cast(sa.func.sum(queue_verdicts.c.n), sa.BigInteger).label("n")
    summed = sa.select(gate, n, *newest).where(*mine).group_by(gate).order_by(n.desc(), gate)
    return [row._asdict() for row in tx.execute(summed)]


def forget(tx: sa.Connection, *, before: datetime) -> int:
    """Forget hours that began before a moment; returns how many rows."""
    return tx.execute(sa.delete(queue_verdicts).where(queue_verdicts.c.at < before)).rowcount
