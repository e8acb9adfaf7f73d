"""`bamboo server`, `bamboo jedi`, `bamboo daemon`: the parts, each in the foreground."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ...core.settings import Settings
from .options import config_option, db_option, settings_of, start_logging


@click.command()
@config_option
@db_option
@click.option("--host", help="Address to listen on. Default: [server] host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one. Default: [server] port.")
def server(config_files: tuple[Path, ...], db_url: str | None, host: str | None, port: int | None) -> None:
    """Run the web server, until SIGTERM or Ctrl-C. SIGHUP has it read its configuration again."""
    from ...server.serve import serve
    from ..database import require_schema

    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}

    def read() -> Settings:
        settings = settings_of(config_files, db_url)
        return settings.model_copy(update={"server": settings.server.model_copy(update=given)})

    settings = read()
    start_logging("server", settings)
    require_schema(settings.database.url)
    tell = partial(start_logging, "server")
    serve(settings, set_up=tell, started=lambda url: click.echo(f"serving at {url}"), read_again=read)


def _over_a_database(config_files: tuple[Path, ...], db_url: str | None) -> Settings:
    """The settings, if their database has the schema of this release."""
    from ..database import require_schema

    settings = settings_of(config_files, db_url)
    require_schema(settings.database.url)
    return settings


@click.command()
@config_option
@db_option
def jedi(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Run the JEDI master and its agents, until SIGTERM or Ctrl-C. Any number of machines may do so.

    SIGHUP has it read its configuration again.
    """
    from ...jedi.master import run_jedi

    read = partial(_over_a_database, config_files, db_url)
    start_logging("jedi", settings := read())
    raise SystemExit(run_jedi(settings, read_again=read))


@click.command()
@config_option
@db_option
def daemon(config_files: tuple[Path, ...], db_url: str | None) -> None:
    """Run the daemon and its chores, until SIGTERM or Ctrl-C. Any number of machines may do so.

    SIGHUP has it read its configuration again.
    """
    from ...daemon.master import run_daemon

    read = partial(_over_a_database, config_files, db_url)
    start_logging("daemon", settings := read())
    raise SystemExit(run_daemon(settings, settings.database.url, read_again=read))
