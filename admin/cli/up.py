"""`bamboo up`: a whole system in the foreground."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path

import click

from ...core import logs
from ..interrupt import Interrupted, interruptible
from ..state import StateFolder
from ..supervisor import MAX_RESTART_SECONDS
from ..system import USUAL_PORT, Plan, System, embedded_postgres
from .options import read_settings, usual_files


@click.command()
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bamboo-state"),
    show_default=True,
    help="Folder for the database, sandboxes, outputs and logs.",
)
@click.option("--db", "db_url", metavar="URL", help="A database of yours. Default: SQLite in the state folder.")
@click.option("--postgres", is_flag=True, help="An embedded PostgreSQL in the state folder (extra `postgres`).")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the server.")
@click.option(
    "--port",
    default=USUAL_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes that of before, or a free one.",
)
@click.option("--pilots", default=2, show_default=True, type=click.IntRange(0, 256), help="Local pilots.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Processes of the server.")
@click.option("--public-url", metavar="URL", default="", help="Where pilots and jobs find the server, behind a proxy.")
@click.option(
    "--restart-seconds",
    default=MAX_RESTART_SECONDS,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="The longest pause before a part is started again that dies over and over.",
)
@click.option("--only-tokens", is_flag=True, help="Let nobody in without a token, on this machine neither.")
def up(
    state: Path,
    db_url: str | None,
    postgres: bool,
    host: str,
    port: int,
    pilots: int,
    workers: int,
    public_url: str,
    restart_seconds: float,
    only_tokens: bool,
) -> None:
    """Run server, JEDI, daemon and local pilots until Ctrl-C; everything they started is gone afterwards."""
    if db_url and postgres:
        raise click.UsageError("give --db or --postgres, not both")
    logs.configure("up", level="WARNING")
    folder = StateFolder(state.resolve())
    with interruptible(), ExitStack() as stack:
        try:
            stack.enter_context(folder.held())
            folder.demo_marker.unlink(missing_ok=True)  # from here on there are things of users in it
            folder.make()
            url = db_url or (stack.enter_context(embedded_postgres(folder.postgres)) if postgres else folder.sqlite_url)
            system = System(
                Plan(
                    folder,
                    url,
                    host,
                    port,
                    pilots,
                    workers,
                    only_tokens,
                    public_url.rstrip("/"),
                    restart_seconds,
                    read_settings(()).settings.server,
                )
            )
            stack.callback(system.stop)
            system.start()
            click.echo(f"Bamboo is up at {system.url} with {pilots} pilots; Ctrl-C stops it. Logs: {folder.logs}")
            click.echo(f'In another shell: eval "$(bamboo client env --state {shlex.quote(str(folder.root))})"')
            click.echo("Then bamboo, and PanDA's prun and pbook, work with it.")
            if not db_url:  # the password of another one is nobody's business
                names = "settings, share, retry-rules, storage, plan, audit, db"
                click.echo(f"Operators' commands ({names}): export {_named(url)}")
            click.echo(f"Is all well? bamboo doctor --state {shlex.quote(str(folder.root))}")
            system.supervisor.keep()
        except Interrupted:
            click.echo("stopping ...", err=True)


def _named(url: str) -> str:
    """What operators' commands have to know: the database, and the cfg files of this system."""
    files = ":".join(str(path.resolve()) for path in usual_files())
    return f"BAMBOO_DATABASE__URL={shlex.quote(url)}" + (f" BAMBOO_CONFIG={shlex.quote(files)}" if files else "")
