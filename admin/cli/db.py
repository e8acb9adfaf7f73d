"""`bamboo db`: the database's schema."""

from __future__ import annotations

from pathlib import Path

import click

from .options import config_option, database_url, db_option, read_settings


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
