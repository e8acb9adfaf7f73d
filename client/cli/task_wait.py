"""`bamboo task wait` and `bamboo task watch`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ..model import TaskInfo
from .exits import Exit
from .options import connected, formatted, ids_argument
from .output import Output, note
from .watching import exit_of_task, follow_to_end, tell_end

if TYPE_CHECKING:
    from ..api import Client


@click.command()
@ids_argument("TASK")
@click.option(
    "--timeout", "timeout_seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after so long."
)
@formatted
@connected
def wait(client: Client, out: Output, ids: list[int], timeout_seconds: float | None) -> None:
    """Wait until all the tasks are over.

    Exits with 0 if every input was processed, 10 if not, 11 if the time was up first.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    infos = []
    for task_id in ids:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        info = wait_for(client, task_id, left)
        infos.append(info)
        if not (out.as_json or out.quiet):
            tell_end(info)
    finish(infos, out)


def wait_for(client: Client, task_id: int, timeout_seconds: float | None) -> TaskInfo:
    try:
        return client.task(task_id).wait(timeout_seconds)
    except KeyboardInterrupt:
        note(f"stopped waiting; task {task_id} goes on")
        raise


@click.command()
@ids_argument("TASK")
@formatted
@connected
def watch(client: Client, out: Output, ids: list[int]) -> None:
    """Follow tasks one after the other until they are over. Ctrl-C leaves them running."""
    infos = [follow_to_end(client.task(task_id)) for task_id in ids]
    if not (out.as_json or out.quiet):
        for info in infos:
            tell_end(info)
    finish(infos, out)


def finish(infos: list[TaskInfo], out: Output) -> None:
    """Print the tasks as --json or --quiet want, and leave with the exit code of the worst."""
    if out.as_json:
        out.json(infos[0].row if len(infos) == 1 else [info.row for info in infos])
    elif out.quiet:
        out.ids(info.task_id for info in infos)
    click.get_current_context().exit(max((exit_of_task(info) for info in infos), default=Exit.OK))
