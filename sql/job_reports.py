"""What pilots report of a job beyond its state: output report, metrics, the last output, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from . import bulk
from .tables import job_metadata, job_reports


def store_report(tx: sa.Connection, pandaid: int, values: Mapping[str, Any]) -> None:
    """Set columns of a job's report; the first ones make the row. Nothing happens without values."""
    if values:
        bulk.upsert(tx, job_reports, "pandaid", [{"pandaid": pandaid, **values}])


def store_metadata(tx: sa.Connection, pandaid: int, jeditaskid: int, text: str) -> None:
    """Keep the metadata that the payload left."""
    bulk.upsert(tx, job_metadata, "pandaid", [{"pandaid": pandaid, "jeditaskid": jeditaskid, "metadata": text}])
