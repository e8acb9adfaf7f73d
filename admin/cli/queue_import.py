"""`bamboo queue import`, `export` and `sources`: the documents of an information system (manual ch. 17)."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...client.cli.output import Column, note, say, table
from ...core.errors import Fault, Invalid
from ...core.grid_documents import GridKind
from .options import config_option, database_url, db_option, read_settings

if TYPE_CHECKING:
    from ...sql.imports import Swapped

F = TypeVar("F", bound=Callable[..., Any])
#: The kinds in the order in which they are taken over.
ORDER = (
    GridKind.SITES,
    GridKind.STORAGES,
    GridKind.BLACKLIST,
    GridKind.QUEUES,
    GridKind.SOFTWARE,
    GridKind.CLOSENESS,
    GridKind.NETWORK,
)
HELP = {
    GridKind.SOFTWARE: "The document of the software at queues (releases=AUTO).",
    GridKind.NETWORK: "The document of what was measured between sites.",
}
SOURCES = (
    Column("KIND", lambda row: row.kind),
    Column("ENTRIES", lambda row: row.n_entries if row.good_at else "", right=True),
    Column("LAST GOOD", lambda row: row.good_at),
    Column("SOURCE", lambda row: row.source),
    Column("WRONG SINCE", lambda row: row.failing_since),
    Column("ERROR", lambda row: row.error),
)


def source_options(command: F) -> F:
    """A source for each kind of document: the queues' as an argument, the others as options."""
    for kind in reversed([kind for kind in ORDER if kind is not GridKind.QUEUES]):
        command = click.option(f"--{kind}", metavar="FILE|URL", help=HELP.get(kind, f"The document of {kind}."))(
            command
        )
    command = click.option("--force", is_flag=True, help="Also if more would vanish than usually may at once.")(command)
    return click.argument("source", metavar="[FILE|URL]", required=False)(command)


def by_kind(source: str | None, others: dict[str, str | None]) -> dict[GridKind, str | None]:
    """What the options named, in the order in which it is taken over."""
    return {kind: source if kind is GridKind.QUEUES else others[kind] for kind in ORDER}


@click.command("import")
@config_option
@db_option
@source_options
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def import_documents(
    config_files: tuple[Path, ...], db_url: str | None, source: str | None, force: bool, dry_run: bool, **others: Any
) -> None:
    """Import queues from FILE or URL, and other documents from those that are named.

    Without any, those that [configurator] names are imported. All are checked, with all faults told at once, and taken
    over together or not at all. What was set by hand stays. `bamboo plan import` says what it would do to tasks.
    """
    from ...daemon.grid_sources import limits_of, read_all
    from ...sql import grid_imports, queues, settings
    from ...sql.clock import DatabaseClock
    from ...sql.imports import Import
    from ..database import opened, require_schema
    from ..grid_edits import sources_of

    configuration = read_settings(config_files).settings
    url = database_url(configuration, db_url)
    require_schema(url)
    sources = sources_of(configuration.configurator, by_kind(source, others))
    if not sources:
        fault = Fault("[configurator]", "it names no source", "give FILE or URL, or set CRIC_URL_SCHEDCONFIG")
        raise Invalid("nothing to import", [fault])
    grid = read_all(sources, limits_of(configuration.configurator))
    for warning in grid.warnings:
        note(f"warning: {warning}")
    with opened(url) as engine, engine.connect() as tx:
        how = Import(
            actor=getpass.getuser(),
            now=DatabaseClock(engine)(),
            sources=sources,
            force=force,
            numbers=settings.numbers(tx),
        )
        done = grid_imports.swap(tx, grid, how)
        for name, storage in queues.unknown_storages(tx):
            note(f"warning: queue {name}: there is no storage {storage}, so that brokers pass it over")
        if dry_run:
            tx.rollback()
        else:
            tx.commit()
    for kind, swapped in done.items():
        say(f"{'would import ' if dry_run else ''}{kind}: {summary(swapped)}")


def summary(done: Swapped) -> str:
    """What an import did, in one line."""
    parts: Sequence[tuple[str, list[str]]] = (
        ("new", done.added),
        ("changed", done.changed),
        ("vanished", done.vanished),
        ("came back", done.came_back),
        ("left alone, as they were set by hand", done.kept),
        ("not known here", done.unknown),
    )
    told = [f"{len(names)} {what} ({_few(names)})" for what, names in parts if names]
    return f"{done.n_entries} in the document; " + (", ".join(told) or "no change")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


@click.command()
@config_option
@db_option
def export(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Print the imported queues as one JSON document, with what was set by hand; `bamboo queue import` reads it."""
    from ...sql import grid_imports
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, reading(engine) as tx:
        found = grid_imports.exported(tx)
    click.echo(json.dumps(found, indent=1, sort_keys=True))


@click.command()
@config_option
@db_option
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
def software(config_files: tuple[Path, ...], db_url: str | None, names: tuple[str, ...]) -> None:
    """Print what queues publish of their software as one JSON document; `bamboo queue import --software` reads it."""
    from ...core.errors import NotFound
    from ...sql import grid
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, reading(engine) as tx:
        found = grid.software_documents(tx)
    missing = [name for name in names if name not in found]
    if missing:
        raise NotFound(
            f"nothing is known of the software at {', '.join(missing)}",
            hint="`bamboo queue software` prints what is known",
        )
    click.echo(json.dumps({name: found[name] for name in names or found}, indent=1, sort_keys=True))


@click.command()
@config_option
@db_option
def sources(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Show what is imported from where, when that was last in order, and what is wrong since when."""
    from ...sql import grid_sources
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, reading(engine) as tx:
        found = grid_sources.all_sources(tx)
    table(SOURCES, found)
