"""Taking in a task: checked whole, entered once however often it is sent (client protocol 6.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import Duplicate, Fault, Invalid, NotFound
from ..core.priorities import USUAL_OF_USERS, usual
from ..core.states import TASKS, TaskState
from ..core.task_parameters import TaskParameters
from ..sql import commands, task_queries
from ..sql import tasks as tasks_sql
from . import task_places
from .identity import Caller

_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: States from which the submission of a task of the same name runs the old one again.
_RERUN = frozenset(TASKS.sources(TaskState.TOINCEXEC))
_REPLACED_WORDS = """
site cloud includedSite excludedSite cliParams nFiles nEvents fixedSandbox currentPriority priority ramCount
loopingCheck forceStaged allowIncompleteInDS nMaxFilesPerJob nGBPerJob nFilesPerJob nEventsPerWorker avoidVP
allowInputLAN useLocalIO noLoopingCheck maxCoreCount ignoreMissingInDS
"""
#: Which parameters of the new submission then take the place of the old ones (client protocol 6.2).
_REPLACED = frozenset(_REPLACED_WORDS.split())


@dataclass(frozen=True)
class Submission:
    """A task as it came in: checked parameters, the object itself, and who sent it under which key."""

    parameters: TaskParameters
    raw: dict[str, Any]
    caller: Caller
    parent_tid: int | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        if self.idempotency_key is not None and not _KEY.fullmatch(self.idempotency_key):
            what = "no key of at most 128 letters, digits, '.', '_', ':' and '-'"
            raise Invalid("the request", [Fault("Idempotency-Key", what, "send a UUID")])

    @property
    def task_priority(self) -> int:
        """The priority of the task; ordinary users have no more than all others (client protocol 6.2)."""
        wanted = self.parameters.task_priority
        if wanted is None:
            return usual(self.parameters.prod_source_label)
        return wanted if self.caller.roles & {"production", "admin"} else min(wanted, USUAL_OF_USERS)

    def stored(self) -> dict[str, Any]:
        """The object as it came, and what the server adds to it."""
        kind = {"taskType": "anal"} if self.parameters.prod_source_label == "user" else {}
        return {**kind, **self.raw, "userName": self.caller.user_name, "taskPriority": self.task_priority}


@dataclass(frozen=True)
class Entered:
    """What became of a submission. `was` is the state of the older task of that name that runs again."""

    jeditaskid: int
    was: str = ""

    def __str__(self) -> str:
        number = f"jediTaskID={self.jeditaskid}"
        if not self.was:
            return f"succeeded. new {number}"
        return (
            f"reactivation accepted. {number} (currently in {self.was} state) will be re-executed with old and/or new"
            " input"
        )


def enter(tx: sa.Connection, submission: Submission, *, now: datetime, request_id: str) -> Entered:
    """Enter a task, or have an older one of the same name run again; the repetition of a request changes nothing.

    Raises `Duplicate` when a name that must be unique is in use, `Invalid` for an unknown parent, queue or site.
    """
    parameters, user_name = submission.parameters, submission.caller.user_name
    if submission.idempotency_key:
        task_queries.hold_name(tx, "key", user_name, submission.idempotency_key)
        known = tasks_sql.submitted_before(tx, user_name, submission.idempotency_key)
        if known is not None:
            return Entered(known)
    task_places.must_exist(tx, parameters)
    _check_parent(tx, submission.parent_tid)
    if parameters.unique_task_name:
        namesake = _namesake(tx, parameters, user_name)
        if namesake is not None:
            return _run_again(tx, namesake, submission, now=now, request_id=request_id)
    return Entered(_insert(tx, submission, now=now, request_id=request_id))


def _insert(tx: sa.Connection, submission: Submission, *, now: datetime, request_id: str) -> int:
    parameters, user_name = submission.parameters, submission.caller.user_name
    priority = submission.task_priority
    return tasks_sql.insert_task(
        tx,
        submission.stored(),
        actor=user_name,
        now=now,
        request_id=request_id,
        task_name=parameters.task_name,
        user_name=user_name,
        vo=parameters.vo,
        prod_source_label=parameters.prod_source_label,
        working_group=parameters.working_group[:64] or None,
        processing_type=parameters.processing_type[:128] or None,
        campaign=parameters.campaign[:128] or None,
        task_priority=priority,
        current_priority=priority if parameters.current_priority is None else parameters.current_priority,
        core_count=parameters.core_count or 1,
        max_attempt=parameters.max_attempt,
        split_rule={},
        parent_tid=submission.parent_tid,
        idempotency_key=submission.idempotency_key,
    )


def _namesake(tx: sa.Connection, parameters: TaskParameters, user_name: str) -> sa.Row[Any] | None:
    """The older task of that name, which is over; raises `Duplicate` while one is not."""
    owner = None if parameters.official else user_name
    task_queries.hold_name(tx, "name", owner or "", parameters.vo, parameters.task_name)
    label = parameters.prod_source_label
    for task in tasks_sql.namesakes(tx, parameters.task_name, owner, parameters.vo, label):
        if task.status == TaskState.BROKEN:
            continue
        if TaskState(task.status) in _RERUN:
            return task
        raise Duplicate(
            f"jediTaskID={task.jeditaskid} of that name is in {task.status} state",
            hint=f"wait for it, or `bamboo task kill {task.jeditaskid}`, or choose another name",
        )
    return None


def _run_again(
    tx: sa.Connection, task: sa.Row[Any], submission: Submission, *, now: datetime, request_id: str
) -> Entered:
    """Queue the command that runs a task again with its old and new input, and with what the submission changes."""
    submission.caller.must_own(f"task {task.jeditaskid}", task.user_name, submission.parameters.vo)
    stored = tasks_sql.get_parameters(tx, task.jeditaskid)
    new = {
        key: value
        for key, value in submission.raw.items()
        if (key in _REPLACED or key.startswith("dsFor")) and value != stored.get(key)
    }
    if "fixedSandbox" in submission.raw and "sourceURL" in submission.raw:
        new["sourceURL"] = submission.raw["sourceURL"]
    TaskParameters.parse({key: value for key, value in {**stored, **new}.items() if value is not None})
    given = {"new_parameters": new, "failed_too": True}
    if not task_queries.is_queued(tx, task.jeditaskid, "incexec", given):
        commands.enqueue(
            tx,
            task.jeditaskid,
            "incexec",
            user_name=submission.caller.user_name,
            now=now,
            parameters=given,
            request_id=request_id,
        )
    if submission.idempotency_key:
        tasks_sql.update_task(tx, task.jeditaskid, idempotency_key=submission.idempotency_key)
    return Entered(task.jeditaskid, task.status)


def _check_parent(tx: sa.Connection, parent_tid: int | None) -> None:
    if parent_tid is None:
        return
    try:
        tasks_sql.get_task(tx, parent_tid)
    except NotFound:
        raise Invalid("the task cannot be run", [Fault("parent_tid", f"there is no task {parent_tid}", "")]) from None
