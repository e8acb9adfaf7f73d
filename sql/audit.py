"""Who changed what, of things that have no history of their own: shares, storages, retry rules, the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .tables import audit

#: Things by kind and name, and what each is.
Things = Mapping[tuple[str, str], Mapping[str, Any]]


def record(
    tx: sa.Connection,
    what: str,
    name: str,
    *,
    actor: str,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Enter a change of the thing `name` of the kind `what`: what it was, and what it is now; None for not there."""
    values = {"before": before and dict(before), "after": after and dict(after)}
    tx.execute(sa.insert(audit).values(at=now, actor=actor[:128], what=what, name=name[:255], **values))


@contextmanager
def recording(
    tx: sa.Connection, things: Callable[[sa.Connection], Things], *, actor: str, now: datetime
) -> Iterator[None]:
    """Record how the things differ afterwards from what they were before."""
    before = things(tx)
    yield
    after = things(tx)
    for key in sorted({*before, *after}):
        was, will = before.get(key), after.get(key)
        if was != will:
            record(tx, *key, actor=actor, now=now, before=was, after=will)


def lately(tx: sa.Connection, *, what: str | None = None, limit: int = 100) -> list[sa.Row[Any]]:
    """The last changes, newest first; of one kind, if it is given."""
    statement = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    return list(tx.execute(statement if what is None else statement.where(audit.c.what == what)))
