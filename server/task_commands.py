"""Commands on tasks: who may give them, in which states, and what is answered (manual ch. 7.1.2, client protocol 6.4).

The server only enters them; the Task Commando carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import BadState, Fault, Invalid
from ..core.settings import ServerSection
from ..core.states import TASKS, TaskState
from ..core.task_parameters import KEYS, TaskParameters
from ..core.validation import guess
from ..sql import commands, task_queries
from ..sql import tasks as tasks_sql
from . import task_places
from .identity import Caller
from .task_rights import must_be_allowed

_T = TaskState


@dataclass(frozen=True)
class Verb:
    """A command: what it is called in the table, the states that it may be given in, and what it will do."""

    command: str
    states: frozenset[TaskState]
    effect: str


#: The commands by their names on the wire.
VERBS = {
    "kill": Verb("kill", frozenset(TASKS.sources(_T.ABORTING)) - {_T.PREPARED}, "its jobs will be killed"),
    # A task that finishes softly may be told to end at once.
    "finish": Verb(
        "finish", frozenset(TASKS.sources(_T.FINISHING)) | {_T.FINISHING}, "it gets no new jobs and will end"
    ),
    "retry": Verb(
        "retry",
        # An active task goes on with more attempts for what has failed: PanDA's code 5 (client protocol 6.4).
        frozenset(TASKS.sources(_T.TORETRY)) | {_T.RUNNING, _T.SCOUTING, _T.PENDING},
        "its unsuccessful inputs will be tried again, and it is looked at at once if it is pending",
    ),
    "reload_input": Verb(
        "incexec", frozenset(TASKS.sources(_T.TOINCEXEC)), "its input datasets will be looked up again"
    ),
    "reactivate": Verb(
        "incexec",
        frozenset(TASKS.sources(_T.TOINCEXEC)),
        "its failed inputs will be tried again, and its datasets looked up again",
    ),
    "increase_attempts": Verb(
        "increase_attempts",
        frozenset({_T.READY, _T.PENDING, _T.SCOUTING, _T.SCOUTED, _T.RUNNING}),
        "its unfinished inputs will have more attempts",
    ),
    "pause": Verb("pause", frozenset(TASKS.sources(_T.PAUSED)), "it will do nothing until it is resumed"),
    "resume": Verb("resume", frozenset({_T.PAUSED, _T.THROTTLED}), "it will go on from where it was"),
    "avalanche": Verb(
        "avalanche",
        frozenset({_T.SCOUTING, _T.EXHAUSTED}),
        "the remaining jobs will be made without waiting for the scouts",
    ),
}


def give(
    tx: sa.Connection,
    verb_name: str,
    jeditaskid: int,
    *,
    caller: Caller,
    section: ServerSection,
    now: datetime,
    request_id: str,
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Enter a command and return what to tell its giver. The same command twice is entered once.

    Raises `NotFound`, `NotAllowed`, `BadState`, and, for parameters that it brings, `NeedsRole` and `Invalid`.
    """
    verb, given = VERBS[verb_name], dict(parameters or {})
    task = tasks_sql.get_task(tx, jeditaskid, lock=True)
    caller.must_own(f"task {jeditaskid}", task.user_name, task.vo)
    if TaskState(task.status) not in verb.states:
        allowed = ", ".join(sorted(verb.states))
        raise BadState(
            f"task {jeditaskid} is {task.status}: {verb_name} cannot be done now",
            hint=f"possible while it is {allowed}",
        )
    if given.get("new_parameters"):
        changed = _changed(tx, jeditaskid, given["new_parameters"])
        must_be_allowed(changed, caller, section)
        task_places.must_exist(tx, changed)
    if task_queries.is_queued(tx, jeditaskid, verb.command, given):
        return f"{verb_name} of task {jeditaskid} is queued already: {verb.effect}"
    commands.enqueue(
        tx, jeditaskid, verb.command, user_name=caller.user_name, now=now, parameters=given, request_id=request_id
    )
    return f"{verb_name} of task {jeditaskid} is queued: {verb.effect}"


def _changed(tx: sa.Connection, jeditaskid: int, new: Mapping[str, Any]) -> TaskParameters:
    """What a task would be with changed parameters, null removing one; raises `Invalid` if it could not be run."""
    unknown = [
        Fault(f"new_parameters.{key[:80]}", "no such parameter", guess(key[:80], KEYS))
        for key in new
        if key not in KEYS
    ]
    if unknown:
        raise Invalid("the new parameters", unknown)
    stored = tasks_sql.get_parameters(tx, jeditaskid)
    return TaskParameters.parse({key: value for key, value in {**stored, **new}.items() if value is not None})
