"""The commands that change tasks: each says what it hits, answers for every task, and ends with one exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import BambooError
from ...core.states import JOBS
from ..task import Task
from ..text import count_text
from .exits import Exit, exit_of, tell
from .options import connected, formatted, ids_argument, yes_option
from .output import Output, confirm, say

if TYPE_CHECKING:
    from ..api import Client
    from ..model import TaskInfo


@dataclass(frozen=True)
class Answer:
    """What became of one command on one task."""

    task_id: int
    exit: Exit
    message: str

    @property
    def row(self) -> Mapping[str, Any]:
        return {"jediTaskID": self.task_id, "success": self.exit == Exit.OK, "message": self.message}


def act(client: Client, out: Output, ids: list[int], command: Callable[[Task], str]) -> None:
    """Give a command to every task, one refusal not keeping the others from theirs."""
    answers = []
    for task_id in ids:
        try:
            answers.append(Answer(task_id, Exit.OK, command(Task(client, task_id))))
        except BambooError as error:
            if len(ids) == 1:
                raise
            tell(error)
            answers.append(Answer(task_id, exit_of(error), error.message))
        if not (out.as_json or out.quiet):
            say(f"task {task_id}: {answers[-1].message}")
    if out.as_json:
        out.json(answers[0].row if len(answers) == 1 else [answer.row for answer in answers])
    elif out.quiet:
        out.ids(answer.task_id for answer in answers if answer.exit == Exit.OK)
    ends = {answer.exit for answer in answers}
    click.get_current_context().exit(ends.pop() if len(ends) == 1 else Exit.PARTLY_DONE)


def describe(verb: str, infos: list[TaskInfo]) -> str:
    """What a destructive command is about to hit, such as `kill 2 tasks with 40 unfinished jobs: …`."""
    n_jobs = sum(number for info in infos for status, number in info.jobs.items() if status not in JOBS.final)
    names = ", ".join(f"{info.task_id} ({info.state})" for info in infos[:5])
    more = f" and {len(infos) - 5} more" if len(infos) > 5 else ""
    return f"{verb} {count_text(len(infos), 'task')} with {count_text(n_jobs, 'unfinished job')}: {names}{more}"


@click.command()
@ids_argument("TASK")
@yes_option
@formatted
@connected
def kill(client: Client, out: Output, ids: list[int], yes: bool) -> None:
    """End tasks and their jobs now. Outputs that are registered stay."""
    confirm(describe("kill", [client.task_info(task_id) for task_id in ids]), yes=yes)
    act(client, out, ids, lambda task: task.kill())


@click.command()
@ids_argument("TASK")
@click.option("--soft", is_flag=True, help="Let running jobs come to their end.")
@yes_option
@formatted
@connected
def finish(client: Client, out: Output, ids: list[int], soft: bool, yes: bool) -> None:
    """End tasks, keeping what was processed."""
    confirm(describe("finish", [client.task_info(task_id) for task_id in ids]), yes=yes)
    act(client, out, ids, lambda task: task.finish(soft=soft))


@click.command()
@ids_argument("TASK")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="A task parameter to change, such as ramCount=4000."
)
@formatted
@connected
def retry(client: Client, out: Output, ids: list[int], settings: tuple[str, ...]) -> None:
    """Try the inputs that failed again."""
    parameters = read_settings(settings)
    act(client, out, ids, lambda task: task.retry(parameters))


def read_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """`KEY=VALUE` arguments; a value that is a number, true, false, null or other JSON is sent as that."""
    parameters: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"'{setting}' is not KEY=VALUE")
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return parameters


def plain_command(name: str, help_text: str, command: Callable[[Task], str]) -> click.Command:
    """A command that takes ids and nothing else."""

    @click.command(name, help=help_text)
    @ids_argument("TASK")
    @formatted
    @connected
    def run(client: Client, out: Output, ids: list[int]) -> None:
        act(client, out, ids, command)

    return run


pause = plain_command("pause", "Start no more jobs of these tasks until they are resumed.", lambda task: task.pause())
resume = plain_command("resume", "Let paused tasks go on.", lambda task: task.resume())
avalanche = plain_command("avalanche", "Start all jobs without waiting for the scouts.", lambda task: task.avalanche())
reload = plain_command(
    "reload", "Look the input datasets up again and process what is new.", lambda task: task.reload_input()
)
