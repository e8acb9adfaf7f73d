"""`bamboo task show` and `bamboo task why`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ...core.counting import count_text
from ...core.states import TASKS, TaskState
from ..text import printable
from .causes import contrasts_of, print_contrasts, print_errors
from .options import connected, formatted, ids_argument, watch_option
from .output import Column, Output, cell_text, heading, say, table
from .watching import repeat

if TYPE_CHECKING:
    from ..api import Client
    from ..evidence import ContrastInfo
    from ..model import Decision, Notification, TaskInfo

DATASETS = (
    Column("TYPE", lambda dataset: dataset.type),
    Column("DATASET", lambda dataset: dataset.name),
    Column("STATUS", lambda dataset: dataset.status),
    Column("FILES", lambda dataset: dataset.n_files, right=True),
    Column("DONE", lambda dataset: dataset.n_files_finished, right=True),
    Column("FAILED", lambda dataset: dataset.n_files_failed, right=True),
    Column("ON HOLD", lambda dataset: dataset.n_files_on_hold, right=True),
)
DECISIONS = (
    Column("WHEN (UTC)", lambda decision: decision.when),
    Column("WHO", lambda decision: decision.actor),
    Column("WHAT", lambda decision: decision.what),
    Column("WHY", lambda decision: decision.why),
)
STEPS = (
    Column("WHEN (UTC)", lambda event: event.when),
    Column("STEP", lambda event: f"{event.old or 'new'} → {event.new}"),
    Column("WHO", lambda event: event.actor),
    Column("WHY", lambda event: event.why),
)
NOTIFICATIONS = (
    Column("ENDED (UTC)", lambda end: end.when),
    Column("STATE", lambda end: end.state),
    Column("TOLD (UTC)", lambda end: end.told or _untold(end)),
    Column("HOW", lambda end: end.how),
)
LAST_DECISIONS = 5
NEVER = datetime.min.replace(tzinfo=UTC)


@click.command()
@ids_argument("TASK")
@watch_option
@formatted
@connected
def show(client: Client, out: Output, ids: list[int], watch_seconds: float | None) -> None:
    """Show tasks: state, progress, datasets, jobs, errors grouped by cause, last decisions."""

    def show_all() -> bool:
        infos = [client.task_info(task_id) for task_id in ids]
        if out.quiet:
            out.ids(info.task_id for info in infos)
        elif out.as_json:
            out.json(infos[0].row if len(infos) == 1 else [info.row for info in infos])
        else:
            for info in infos:
                print_task(info, contrasts_of(client, info))
        return all(info.is_over for info in infos)

    repeat(show_all, watch_seconds)


@click.command()
@ids_argument("TASK")
@formatted
@connected
def why(client: Client, out: Output, ids: list[int]) -> None:
    """Say why tasks are where they are: what the state means, who moves them on, and every decision on record."""
    infos = [client.task_info(task_id) for task_id in ids]
    if out.as_json:
        answers = [
            {key: info.row.get(key) for key in ("jediTaskID", "status", "errorDialog", "decisions")} for info in infos
        ]
        out.json(answers[0] if len(answers) == 1 else answers)
        return
    for info in infos:
        print_state(info)
        print_errors(info)
        print_contrasts(contrasts_of(client, info))
        heading("Decisions")
        if info.decisions:
            table(DECISIONS, latest(info))
        else:
            say("none on record yet")
        heading("Steps")
        table(STEPS, info.events)


def latest(info: TaskInfo) -> list[Decision]:
    """The decisions on a task, the newest first."""
    return sorted(info.decisions, key=lambda decision: decision.when or NEVER, reverse=True)


def print_line(name: str, value: object) -> None:
    if shown := cell_text(value):
        say(f"{name:<10} {shown}" + (" UTC" if isinstance(value, datetime) else ""))


def print_state(info: TaskInfo) -> None:
    """Name, state in plain words, what that state means and who moves the task on."""
    click.secho(f"task {info.task_id}  {printable(info.name)}", bold=True)
    print_line("state", info.state)
    if info.status in set(TaskState):
        row = TASKS.rows[TaskState(info.status)]
        print_line("meaning", row.meaning)
        print_line("next step", row.mover)
    print_line("reason", info.error)
    print_line("jobs", ", ".join(f"{number} {status}" for status, number in info.jobs.items()))
    print_line("ranges", ", ".join(f"{number} {status}" for status, number in info.event_ranges.items()))


def print_task(info: TaskInfo, contrasts: Sequence[ContrastInfo]) -> None:
    """One task on the screen."""
    print_state(info)
    print_line("user", info.user)
    print_line("created", info.created)
    print_line("started", info.started)
    print_line("ended", info.ended)
    if info.datasets:
        heading("Datasets")
        table(DATASETS, info.datasets)
    print_errors(info)
    print_contrasts(contrasts)
    if info.notifications:
        heading("Notifications")
        table(NOTIFICATIONS, info.notifications)
    if info.decisions:
        heading("Last decisions")
        table(DECISIONS, latest(info)[:LAST_DECISIONS])
    click.echo()


def _untold(end: Notification) -> str:
    """Why nobody was told of an end: not yet, or never."""
    tried = f" after {count_text(end.attempts, 'attempt')}" if end.attempts else ""
    if end.delivery == "given_up":
        return f"given up{tried}"
    return f"waiting{tried}" + (f", next at {cell_text(end.next_try)}" if end.next_try else "")
