"""`bamboo client`: what users of a system on this machine need to work with it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ...core.clock import utc_now
from ..client_environment import exports
from ..state import StateFolder
from ..tokens import ROLES, USER_DAYS, key_folder, local_name

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bamboo-state"),
    show_default=True,
    envvar="BAMBOO_STATE",
    help="The folder of `bamboo up`.",
)


@click.group()
def client() -> None:
    """Use the system of `bamboo up` from other programs: PanDA's client, and scripts."""


@client.command()
@state_option
def env(state: Path) -> None:
    """Print what makes `bamboo`, `prun` and `pbook` work with the system: eval "$(bamboo client env)"."""
    for line in exports(StateFolder(state.resolve()), os.environ, utc_now()):
        click.echo(line)


@client.command()
@state_option
@click.option("--user", default=local_name, show_default="your login", help="Whose token; also the user's name.")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), default=("user",), show_default=True)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="A pilot's token for this queue only.")
@click.option("--days", default=float(USER_DAYS), show_default=True, type=click.FloatRange(0, 3650), help="Its life.")
def token(state: Path, user: str, roles: tuple[str, ...], queues: tuple[str, ...], days: float) -> None:
    """Issue a token, signed by the system's key, and print it. Whoever has it is that user."""
    folder = key_folder(StateFolder(state.resolve()))
    click.echo(folder.issue(user, roles, now=utc_now(), days=days, queues=queues))
