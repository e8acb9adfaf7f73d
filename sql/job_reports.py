"""What pilots report of a job beyond its state: output report, metrics, the last output, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from .tables import job_metadata, job_reports


def store_report(tx: sa.Connection, pandaid: int, values: Mapping[str, Any]) -> None:
    """Set columns of a job's report; the first ones make the row. Nothing happens without values."""
    if values:
        _put(tx, job_reports, {"pandaid": pandaid}, values)


def store_metadata(tx: sa.Connection, pandaid: int, jeditaskid: int, text: str) -> None:
    """Keep the metadata that the payload left."""
    _put(tx, job_metadata, {"pandaid": pandaid}, {"jeditaskid": jeditaskid, "metadata": text})


def _put(tx: sa.Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    # Only the holder of the job's row lock writes here, so nobody can come between the two statements.
    where = [table.c[name] == value for name, value in key.items()]
    if tx.execute(sa.update(table).where(*where).values(**values)).rowcount == 0:
        tx.execute(sa.insert(table).values(**key, **values))
