"""`bamboo secret`: passwords and keys that your jobs need, kept sealed by the server."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..naming import FILE_PREFIX
from .lazy import LazyGroup
from .options import connected, formatted
from .output import Output, say

if TYPE_CHECKING:
    from ..api import Client


@click.group(cls=LazyGroup, lazy={})
def secret() -> None:
    """Keep passwords and keys for your jobs: `bamboo run --useSecrets` gives them to a task's jobs."""


@secret.command("set")
@click.argument("name")
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Keep this file.")
@connected
def set_secret(client: Client, name: str, path: Path | None) -> None:
    """Keep a secret: its value is asked for, or read from a pipe, so that no list of processes shows it.

    Jobs find it as the environment variable NAME, or with --file as the file NAME.
    """
    if path is not None:
        answer = client.set_secret(FILE_PREFIX + name, base64.b64encode(path.read_bytes()).decode())
    elif sys.stdin.isatty():
        answer = client.set_secret(name, click.prompt("Value", hide_input=True))
    elif value := sys.stdin.read().removesuffix("\n"):
        answer = client.set_secret(name, value)
    else:
        raise click.UsageError("no value came over the pipe, and nothing was kept; or is a --file meant?")
    say(f"{name}: {answer}")


@secret.command("list")
@click.option("--show", is_flag=True, help="Show the values too.")
@formatted
@connected
def list_secrets(client: Client, out: Output, show: bool) -> None:
    """List the names of your secrets."""
    found = client.secrets()
    if out.as_json:
        out.json(found if show else sorted(found))
        return
    for name, value in sorted(found.items()):
        click.echo(f"{name}={value}" if show and not out.quiet else name)


@secret.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@connected
def delete(client: Client, names: tuple[str, ...]) -> None:
    """Forget secrets."""
    for name in names:
        say(f"{name}: {client.set_secret(name, None)}")
