"""Which tasks or jobs people look for: one description, turned into conditions, pages and facets for both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

#: A facet shows so many values; the rest is summed up.
FACET_VALUES = 12


@dataclass(frozen=True)
class Selection:
    """What to list. Each column has alternatives, one of which must fit; `*` stands for anything."""

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ids: Collection[int] = ()
    modified_since: datetime | None = None
    before: int | None = None  # only rows with smaller ids: the next page
    after: int | None = None  # only rows with larger ids
    modified_until: datetime | None = None
    ended_since: datetime | None = None
    ended_until: datetime | None = None


def conditions(table: sa.FromClause, key: str, wanted: Selection) -> list[sa.ColumnElement[bool]]:
    """The conditions of a selection on a table of tasks or jobs whose ids are in the column `key`."""
    return list(_conditions(table, table.c[key], wanted))


def _conditions(
    table: sa.FromClause, key: sa.ColumnElement[Any], wanted: Selection
) -> Iterator[sa.ColumnElement[bool]]:
    for name, alternatives in wanted.columns.items():
        yield sa.or_(sa.false(), *(_fits(table.c[name], text) for text in alternatives))
    if wanted.ids:
        yield key.in_(list(wanted.ids))
    if wanted.modified_since is not None:
        yield table.c.modified_at >= wanted.modified_since
    if wanted.modified_until is not None:
        yield table.c.modified_at < wanted.modified_until
    if wanted.ended_since is not None:
        yield table.c.ended_at >= wanted.ended_since
    if wanted.ended_until is not None:
        yield table.c.ended_at < wanted.ended_until
    if wanted.after is not None:
        yield key > wanted.after
    if wanted.before is not None:
        yield key < wanted.before


def _fits(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    if not isinstance(column.type, sa.String):
        return column == int(text)
    if "*" not in text:
        return column == text
    return like(column, text)


def like(column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    """The condition that a text fits a pattern in which `*` stands for anything, and all else for itself."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return column.like(escaped, escape="\\")


def newest(tx: sa.Connection, table: sa.FromClause, key: str, wanted: Selection, *, limit: int) -> list[sa.Row[Any]]:
    """The rows that fit, those with the largest ids first."""
    chosen = sa.select(table).where(*conditions(table, key, wanted))
    return list(tx.execute(chosen.order_by(table.c[key].desc()).limit(limit)))


@dataclass(frozen=True)
class Listed:
    """The newest rows that fit, and how these and some more are spread over the values of columns.

    `facets` are {column: [(value, rows)]}, the most frequent first, without nulls and what is beyond `FACET_VALUES`.
    """

    rows: list[sa.Row[Any]]
    facets: dict[str, list[tuple[str, int]]]


def listed(
    tx: sa.Connection,
    table: sa.FromClause,
    key: str,
    wanted: Selection,
    names: Sequence[str],
    *,
    shown: int,
    looked_at: int,
) -> Listed:
    """The newest `shown` rows, and facets of the newest `looked_at`, with one look for what fits."""
    columns = [table.c[key], *(table.c[name] for name in names)]
    chosen = sa.select(*columns).where(*conditions(table, key, wanted)).order_by(table.c[key].desc())
    seen = tx.execute(chosen.limit(max(shown, looked_at))).all()
    ids = [row[0] for row in seen[:shown]]
    rows = newest(tx, table, key, Selection(ids=ids), limit=shown) if ids else []
    counts = {
        name: Counter(str(row[place]) for row in seen if row[place] is not None) for place, name in enumerate(names, 1)
    }
    return Listed(rows, {name: _most(count) for name, count in counts.items()})


def _most(count: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(count.items(), key=lambda one: (-one[1], one[0]))[:FACET_VALUES]
