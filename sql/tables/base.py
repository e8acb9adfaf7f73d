"""What all tables share: the metadata, and helpers for columns that recur."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa

from ..types import Id, UtcDateTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


Part = TypeVar("Part", sa.CheckConstraint, sa.Index)

#: Databases in which a comparison is a value that can be compared.
HAVE_BOOLEANS = ("sqlite", "postgresql", "mysql", "mariadb")
#: Databases in which an index may cover a part of the rows.
HAVE_PARTIAL_INDEXES = ("sqlite", "postgresql")


def numbered(name: str, *, start: int = 1) -> sa.Column[int]:
    """A primary key that the database numbers, from `start` on."""
    return sa.Column(name, Id, sa.Identity(start=start), primary_key=True)


def word(name: str, length: int = 64, **options: Any) -> sa.Column[str]:
    """A short text."""
    return sa.Column(name, sa.String(length), **options)


def count(name: str, default: int = 0) -> sa.Column[int]:
    """A number that is never null."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default=str(default), default=default)


def flag(name: str, *, default: bool = False) -> sa.Column[bool]:
    return sa.Column(
        name, sa.Boolean, nullable=False, server_default=sa.true() if default else sa.false(), default=default
    )


def moment(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, UtcDateTime, **options)


def one_of(column: str, words: Iterable[StrEnum], *, name: str | None = None) -> sa.CheckConstraint:
    """A CHECK that a column holds one of the words of a state table."""
    allowed = ", ".join(f"'{value}'" for value in dict.fromkeys(str(value) for value in words))
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=name or column)


def only(condition: str) -> dict[str, Any]:
    """Index options: cover just the rows that meet `condition`, where the database can (PostgreSQL, SQLite)."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def words(states: Iterable[StrEnum]) -> str:
    """States as SQL lists them."""
    return ", ".join(f"'{state}'" for state in states)


def changing() -> dict[str, str]:
    """Storage of a large table whose rows change or go: vacuum follows after 2 % of them instead of 20 %.

    PostgreSQL's usual fifth is millions of dead rows, and as many dead entries in each index, before anything happens.
    """
    return {"autovacuum_vacuum_scale_factor": "0.02"}


def updated_often(*, fillfactor: int) -> dict[str, str]:
    """Storage of a table whose rows change over and over in columns that no index has.

    `fillfactor` is how full pages are made, in percent: the new version of a row stays on the page then, and touches no
    index (heap-only tuples).
    """
    return {"fillfactor": str(fillfactor), **changing()}


def only_on(dialects: tuple[str, ...], part: Part) -> Part:
    """A constraint or index that only some databases can have."""
    part.ddl_if(dialect=dialects)  # type: ignore[arg-type]  # a tuple is accepted, though the annotation says str
    return part
