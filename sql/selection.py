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
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return column.like(escaped, escape="\\")


def newest(tx: sa.Connection, table: sa.FromClause, key: str, wanted: Selection, *, limit: int) -> list[sa.Row[Any]]:
    """The rows that fit, those with the largest ids first."""
    chosen = sa.select(table).where(*conditions(table, key, wanted))
    return list(tx.execute(chosen.order_by(table.c[key].desc()).limit(limit)))


@dataclass(frozen=True)
class Newest:
    """The first rows that fit, whether there are no others, and how many to look at if there are."""

    rows: Sequence[sa.Row[Any]]
    is_all: bool
    limit: int


def facets(
    tx: sa.Connection, table: sa.FromClause, key: str, wanted: Selection, names: Sequence[str], among: Newest
) -> dict[str, list[tuple[str, int]]]:
    """How the newest rows that fit are spread over the values of columns: {column: [(value, rows)]}.

    The most frequent come first; what is beyond `FACET_VALUES` is left out, and so are nulls.
    """
    counts = _counted(among.rows, names) if among.is_all else _count(tx, table, key, wanted, names, among.limit)
    return {
        name: sorted(by_value.items(), key=lambda one: (-one[1], one[0]))[:FACET_VALUES]
        for name, by_value in counts.items()
    }


def _counted(found: Sequence[sa.Row[Any]], names: Sequence[str]) -> dict[str, dict[str, int]]:
    return {name: Counter(str(value) for row in found if (value := row._mapping[name]) is not None) for name in names}


def _count(
    tx: sa.Connection, table: sa.FromClause, key: str, wanted: Selection, names: Sequence[str], limit: int
) -> dict[str, dict[str, int]]:
    columns = [table.c[name] for name in names]
    chosen = sa.select(*columns).where(*conditions(table, key, wanted)).order_by(table.c[key].desc()).limit(limit)
    some = chosen.cte("some")
    counted = [
        sa.select(sa.literal(name).label("name"), sa.cast(some.c[name], sa.String(255)).label("value"), sa.func.count())
        .where(some.c[name].is_not(None))
        .group_by(some.c[name])
        for name in names
    ]
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for name, value, n in tx.execute(sa.union_all(*counted)):
        counts[name][value] = n
    return counts
