"""`bamboo task submit`: task parameters from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import click

from ...core.errors import Fault, Invalid
from ..task import Task
from .options import connected, formatted, prun_option
from .output import Output, note, say
from .watching import exit_of_task, follow_to_end, tell_end

if TYPE_CHECKING:
    from ..api import Client

#: The keys of a whole request.
_REQUEST = frozenset({"task_parameters", "parent_tid"})


@click.command()
@click.argument("file", metavar="FILE", type=click.File(encoding="utf-8"))
@prun_option("parentTaskID", type=int, metavar="ID", help="The task whose outputs it reads.")
@click.option("--watch", "-w", is_flag=True, help="Stay until the task is over; Ctrl-C leaves it running.")
@formatted
@connected
def submit(client: Client, out: Output, file: IO[str], parent_task_id: int | None, watch: bool) -> None:
    """Submit the task parameters in FILE, JSON as `bamboo run --dumpTaskParams` writes it; `-` reads standard input.

    The server checks them and tells all faults at once. It may also be a whole request, with `parent_tid`.
    """
    parameters, parent_tid = read_request(file)
    sent = client.send_parameters(parameters, parent_tid=parent_tid if parent_task_id is None else parent_task_id)
    if sent.again:
        note(f"task {sent.task_id} had this name and was over: it was taken up again, with what may change of it")
    if watch:
        info = follow_to_end(Task(client, sent.task_id))
        if out.as_json:
            out.json(info.row)
        elif out.quiet:
            say(sent.task_id)
        else:
            tell_end(info)
        click.get_current_context().exit(exit_of_task(info))
    if out.as_json:
        again = {"takenUpAgain": True} if sent.again else {}
        out.json({"jediTaskID": sent.task_id, "taskName": parameters.get("taskName"), **again})
    elif out.quiet:
        say(sent.task_id)
    else:
        name = f" as {parameters['taskName']}" if parameters.get("taskName") else ""
        say(f"task {sent.task_id} {'taken up again' if sent.again else 'submitted'}{name}")
        note(f"next: bamboo task wait {sent.task_id}   bamboo task show {sent.task_id}")


def read_request(file: IO[str]) -> tuple[Mapping[str, Any], int | None]:
    """Task parameters and the id of the parent; raises `Invalid`. What they say is for the server to check."""
    what = "the task parameters cannot be read"
    try:
        document = json.load(file)
    except ValueError as error:
        raise Invalid(what, [Fault(file.name, f"is no JSON: {error}", "correct it")]) from error
    do = 'such as {"taskName": "user.alice.x/", …}, or {"task_parameters": {…}, "parent_tid": 7}'
    if not isinstance(document, Mapping):
        raise Invalid(what, [Fault(file.name, "is no object", do)])
    if "task_parameters" not in document:
        return document, None
    faults = [Fault(f"{file.name} {key}", "is no key of a request", do) for key in document if key not in _REQUEST]
    parameters, parent_tid = document["task_parameters"], document.get("parent_tid")
    if not isinstance(parameters, Mapping):
        faults.append(Fault(f"{file.name} task_parameters", "is no object", do))
    if parent_tid is not None and (not isinstance(parent_tid, int) or isinstance(parent_tid, bool)):
        faults.append(Fault(f"{file.name} parent_tid", f"{parent_tid!r} is no id of a task", do))
    if faults:
        raise Invalid(what, faults)
    return parameters, parent_tid
