"""What pilots report of a job beyond its state: output report, metrics, the last output, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .tables import job_metadata, job_reports


def store_report(tx: sa.Connection, pandaid: int, values: Mapping[str, Any]) -> None:
    """Set columns of a job's report; the first ones make the row. Nothing happens without values."""
    if values:
        _put(tx, job_reports, {"pandaid": pandaid}, values)


def store_metadata(tx: sa.Connection, pandaid: int, jeditaskid: int, text: str) -> None:
    """Keep the metadata that the payload left."""
    _put(tx, job_metadata, {"pandaid": pandaid}, {"jeditaskid": jeditaskid, "metadata": text})


def _put(tx: sa.Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    tx.execute(_upsert(tx.dialect.name, table, tuple(key), frozenset(values)), {**key, **values})


@lru_cache
def _upsert(dialect: str, table: sa.Table, key: tuple[str, ...], names: frozenset[str]) -> Any:
    """Enter a row with these columns, or set them in the one that there is: put together once for each set of them."""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    given = insert.values({name: sa.bindparam(name) for name in (*key, *sorted(names))})
    return given.on_conflict_do_update(index_elements=key, set_={name: given.excluded[name] for name in sorted(names)})
