"""The state of what is imported about the grid: from where, when it was last in order, and what is wrong since when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.grid_documents import GridKind
from .tables import grid_sources


def lock(tx: sa.Connection, kind: GridKind) -> None:
    """Keep other imports of a kind out till the end of the transaction."""
    tx.execute(sa.select(grid_sources.c.kind).where(grid_sources.c.kind == kind).with_for_update())


def succeeded(tx: sa.Connection, kind: GridKind, *, source: str, n_entries: int, now: datetime) -> None:
    """Note that a document was read, in order, and taken over."""
    good = {"source": source[:1024], "good_at": now, "n_entries": n_entries, "failing_since": None, "error": None}
    tx.execute(sa.update(grid_sources).where(grid_sources.c.kind == kind).values(good))


def failed(tx: sa.Connection, kind: GridKind, *, error: str, now: datetime) -> None:
    """Note that a document could not be had, or was not in order; what was imported before stays."""
    since = sa.func.coalesce(grid_sources.c.failing_since, sa.literal(now, grid_sources.c.failing_since.type))
    values = {"failing_since": since, "error": error}
    tx.execute(sa.update(grid_sources).where(grid_sources.c.kind == kind).values(values))


def all_sources(tx: sa.Connection) -> list[sa.Row[Any]]:
    """The kinds with their states, by name."""
    return list(tx.execute(sa.select(grid_sources).order_by(grid_sources.c.kind)))
