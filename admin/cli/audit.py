"""`bamboo audit`: who changed what by operators' commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .options import config_option, database_url, db_option, json_option, read_settings


@click.command()
@config_option
@db_option
@json_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many lines.")
@click.option("--what", metavar="KIND", help="Only share, resource type, work queue, storage, retry rule or database.")
def audit(config_files: tuple[Path, ...], db_url: str | None, as_json: bool, limit: int, what: str | None) -> None:
    """Say who changed shares, storages and retry rules, and when, the newest first.

    Queues and settings have histories of their own: `bamboo queue history`, `bamboo settings history`.
    """
    from ...client.cli.output import Column, Output, table
    from ...sql import audit as sql
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, reading(engine) as tx:
        rows = sql.lately(tx, what=what, limit=limit)
    if as_json:
        keys = ("at", "actor", "what", "name", "before", "after")
        Output.json([{key: getattr(row, key) for key in keys} for row in rows])
        return
    columns = (
        Column("AT", lambda row: f"{row.at:%Y-%m-%d %H:%M:%S}"),
        Column("BY", lambda row: row.actor),
        Column("WHAT", lambda row: row.what),
        Column("NAME", lambda row: row.name),
        Column("CHANGE", lambda row: _change(row.before, row.after)),
    )
    table(columns, rows)


def _change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """`value 10 → 20`, only of what differs."""
    if after is None:
        return "removed"
    told = {key: value for key, value in after.items() if before is None or before.get(key) != value}
    if before is None:
        return "new: " + ", ".join(f"{key} {json.dumps(value)}" for key, value in told.items() if value is not None)
    return ", ".join(f"{key} {json.dumps(before.get(key))} → {json.dumps(value)}" for key, value in told.items())
