"""`bamboo task report`: one HTML file for a ticket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import connected
from .output import note, say

if TYPE_CHECKING:
    from ..api import Client


@click.command()
@click.argument("task_id", metavar="TASK", type=int)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write it there [task-TASK.html]; - is stdout.",
)
@connected
def report(client: Client, task_id: int, output: Path | None) -> None:
    """Write one HTML file about a task for a ticket: state, why, failures with examples, parameters, steps.

    It needs nothing else to be read. What looks like a secret is taken out; look through it before you give it away.
    """
    from ..report import task_report

    page = task_report(client, task_id)
    if output == Path("-"):
        click.echo(page, nl=False)
        return
    path = output or Path(f"task-{task_id}.html")
    path.write_text(page, encoding="utf-8")
    say(path)
    note("what looks like a secret was taken out; look through it all the same before you give it away")
