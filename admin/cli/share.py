"""`bamboo share`: what each activity may use of all slots, and how it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import Fault, Invalid
from .options import by_option, config_option, database_url, db_option, read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ...core.shares import Tree

json_option = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
retag_option = click.option("--retag", is_flag=True, help="Tag the tasks and jobs that are not over anew.")


@click.group()
def share() -> None:
    """See and change global shares: what each activity may use of all slots."""


@contextmanager
def _engine(config_files: tuple[Path, ...], db_url: str | None) -> Iterator[sa.Engine]:
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine:
        yield engine


@share.command("list")
@config_option
@db_option
@json_option
def list_shares(config_files: tuple[Path, ...], db_url: str | None, as_json: bool) -> None:
    """List the shares that work is tagged with, the one whose turn it is first."""
    from ...sql.engine import reading
    from ..share_table import standing_rows

    with _engine(config_files, db_url) as engine, reading(engine) as tx:
        rows = standing_rows(tx)
    _show(rows, as_json)


@share.command("tree")
@config_option
@db_option
@json_option
def show_tree(config_files: tuple[Path, ...], db_url: str | None, as_json: bool) -> None:
    """Show all shares as a tree, with use against target."""
    from ...client.cli.output import note
    from ...sql import shares
    from ...sql.engine import reading
    from ..share_table import tree_rows

    with _engine(config_files, db_url) as engine, reading(engine) as tx:
        rows, notes = tree_rows(tx), shares.tree(tx).notes
    _show(rows, as_json)
    for line in notes:
        note(line)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    from ...client.cli.output import Column, note, table

    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        note("there are no shares: pilots get jobs by priority alone; `bamboo share set` enters one")
        return

    def amount(key: str) -> Column:
        return Column(f"{key.upper()} cores", lambda row: f"{row[key]:.0f}", right=True)

    columns = (
        Column("SHARE", lambda row: "  " * row["level"] + row["share"]),
        Column("VALUE", lambda row: f"{row['value']:g}", right=True),
        Column("OF ALL %", lambda row: f"{row['percent']:.1f}", right=True),
        *(amount(key) for key in ("target", "running", "queued")),
        Column("MISSING", lambda row: _percent(row["distance"]), right=True),
        Column("TAKES", lambda row: ", ".join(f"{name}={text}" for name, text in row["patterns"].items())),
    )
    table(columns, rows)


def _percent(distance: float | None) -> str:
    return "" if distance is None or not math.isfinite(distance) else f"{100 * distance:.0f} %"


@share.command("set")
@config_option
@db_option
@by_option
@retag_option
@click.argument("name", metavar="SHARE")
@click.argument("changes", metavar="KEY=VALUE...", nargs=-1, required=True)
def set_share(
    config_files: tuple[Path, ...], db_url: str | None, by: str, retag: bool, name: str, changes: tuple[str, ...]
) -> None:
    """Enter SHARE or change some of its attributes.

    The keys are value (percent of the parent), parent (empty for the top), match_order, and the regular expressions
    that tag work: prod_source_label, working_group, campaign, processing_type, vo (empty for none).
    """
    from ...sql import shares
    from ..share_table import changed

    with _engine(config_files, db_url) as engine:
        with _recorded(engine, by) as tx:
            known = shares.tree(tx).shares
            tree = shares.set_share(tx, changed(known.get(name), name, _pairs(changes), known))
        _say_notes(tree)
        click.echo(f"share {name} is set")
        _retag(engine, retag)


def _pairs(changes: tuple[str, ...]) -> dict[str, str]:
    faults = [Fault(text, "is no KEY=VALUE", "such as value=60") for text in changes if "=" not in text]
    if faults:
        raise Invalid("the changes", faults)
    return dict(text.split("=", 1) for text in changes)


@share.command()
@config_option
@db_option
@by_option
@retag_option
@click.argument("name", metavar="SHARE")
def remove(config_files: tuple[Path, ...], db_url: str | None, by: str, retag: bool, name: str) -> None:
    """Remove SHARE; it must have none under it."""
    from ...sql import shares

    with _engine(config_files, db_url) as engine:
        with _recorded(engine, by) as tx:
            tree = shares.remove_share(tx, name)
        _say_notes(tree)
        click.echo(f"share {name} is removed")
        _retag(engine, retag)


@share.command("import")
@config_option
@db_option
@by_option
@retag_option
@click.option("--dry-run", is_flag=True, help="Check the file, change nothing.")
@click.argument("file", type=click.File(encoding="utf-8"))
def import_file(
    config_files: tuple[Path, ...], db_url: str | None, by: str, retag: bool, dry_run: bool, file: Any
) -> None:
    """Replace shares, resource types and work queues by those of a JSON FILE. Sections that it lacks stay."""
    from ...sql import shares
    from ..share_file import parse

    try:
        document = json.load(file)
    except ValueError as error:
        raise Invalid(file.name, [Fault("the file", f"is no JSON: {error}", "correct it")]) from error
    read = parse(document)
    with _engine(config_files, db_url) as engine:
        with suppress(_DryRun), _recorded(engine, by) as tx:
            tree = shares.replace_all(tx, read.shares, read.resource_types, read.work_queues)
            if dry_run:
                raise _DryRun
        _say_notes(tree)
        click.echo("the file can be imported" if dry_run else f"{file.name} is imported")
        _retag(engine, retag and not dry_run)


@share.command()
@config_option
@db_option
def retag(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Tag the tasks and jobs that are not over anew, by the shares and resource types as they are now."""
    with _engine(config_files, db_url) as engine:
        _retag(engine, True)


class _DryRun(Exception):
    """Undoes a transaction."""


@contextmanager
def _recorded(engine: sa.Engine, by: str) -> Iterator[sa.Connection]:
    """A transaction, after which it is known who changed what of shares."""
    from ...core.clock import utc_now
    from ...sql import audit, shares

    with engine.begin() as tx, audit.recording(tx, shares.things, actor=by, now=utc_now()):
        yield tx


def _say_notes(tree: Tree) -> None:
    from ...client.cli.output import note

    for line in tree.notes:
        note(line)


def _retag(engine: sa.Engine, wanted: bool) -> None:
    """Tag everything anew, a page in each transaction, so that nobody waits long."""
    from ...core.clock import utc_now
    from ...sql import shares

    if not wanted:
        return
    after: int | None = 0
    n_tasks = n_jobs = 0
    now: datetime = utc_now()
    while after is not None:
        with engine.begin() as tx:
            after, tasks_now, jobs_now = shares.retag(tx, after=after, now=now)
        n_tasks, n_jobs = n_tasks + tasks_now, n_jobs + jobs_now
    click.echo(f"{n_tasks} tasks and {n_jobs} jobs have new tags")
