"""`bamboo task list`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ...core.states import TaskState
from .options import connected, listed, status_option, watch_option
from .output import Column, Output, first
from .watching import repeat

if TYPE_CHECKING:
    from ..api import Client

COLUMNS = (
    Column("ID", lambda task: task.task_id, right=True),
    Column("NAME", lambda task: task.name.rstrip("/")),
    Column("USER", lambda task: task.user),
    Column("STATE", lambda task: task.state),
    Column("CREATED (UTC)", lambda task: task.created),
)


@click.command("list")
@status_option(TaskState, "|")
@click.option("--name", help="Only tasks of this name; * stands for anything.")
@click.option("--user", help="Tasks of this user instead of your own.")
@click.option("--since", type=click.DateTime(), metavar="DATE", help="Only tasks modified since then (UTC).")
@watch_option
@listed
@connected
def list_tasks(
    client: Client,
    out: Output,
    limit: int,
    status: str | None,
    name: str | None,
    user: str | None,
    since: datetime | None,
    watch_seconds: float | None,
) -> None:
    """List your tasks, or somebody's.

    With --quiet the ids can be piped into other commands: bamboo task list -q --status failed | bamboo task retry -
    """
    moment = since.replace(tzinfo=UTC) if since else None

    def show() -> bool:
        tasks = client.tasks(status=status, name=name, user=user, since=moment, limit=limit + 1)
        infos = [task.info for task in first(tasks, limit)]
        out.rows(infos, COLUMNS, id_key="jediTaskID")
        return all(info.is_over for info in infos)

    repeat(show, watch_seconds)
