"""`bamboo db`: the database's schema."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .options import by_option, config_option, database_url, db_option, read_settings


@click.group()
def db() -> None:
    """Bring the database to this version's schema, or check it."""


@db.command()
@config_option
@db_option
def upgrade(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Bring the database to this version's schema. It may be interrupted and repeated."""
    from ...sql import migrate
    from ..database import opened

    settings = read_settings(config_files).settings
    with opened(database_url(settings, db_url)) as engine:
        before = migrate.current(engine)
        migrate.upgrade(engine)
        after = migrate.current(engine)
    click.echo(f"at revision {after}" + (" already" if before == after else f" (was: {before or 'empty'})"))


@db.command()
@config_option
@db_option
def check(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Say whether the database is at this version's schema; exit status 1 if not."""
    from ...sql import migrate
    from ..database import opened

    settings = read_settings(config_files).settings
    with opened(database_url(settings, db_url)) as engine:
        problems = migrate.check(engine)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
    click.echo(f"at revision {migrate.head()}, as needed")


@db.command()
@config_option
@db_option
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
def backup(config_files: tuple[Path, ...], db_url: str | None, target: Path) -> None:
    """Copy an SQLite database to FILE while it is in use. For PostgreSQL, use pg_dump."""
    from ...sql import backups
    from ..database import opened

    settings = read_settings(config_files).settings
    with opened(database_url(settings, db_url)) as engine:
        backups.copy_sqlite(engine, target)
    click.echo(f"{target} has the database as it was just now")


@db.command()
@config_option
@db_option
@by_option
def restored(config_files: tuple[Path, ...], db_url: str | None, by: str) -> None:
    """Fence off what happened after the backup that this database was restored from; before anything is started on it.

    Pilots that took jobs after the backup are told to stop, and new tasks and jobs get numbers that were never given.
    """
    from ...core.clock import utc_now
    from ...sql import audit, backups
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, engine.begin() as tx:
        now = utc_now()
        fenced = backups.fence_lost(tx, now=now)
        audit.record(tx, "database", "restored", actor=by, now=now, after=asdict(fenced))
    click.echo(f"{fenced.n_jobs} waiting jobs begin a new attempt; numbers of tasks and jobs go on higher up")
