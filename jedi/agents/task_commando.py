"""Task Commando: carries out the commands that users send (manual ch. 7.1.2)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.counting import count_text
from ...core.errors import BadState, BambooError, IllegalTransition
from ...core.states import JobState, OutputDatasetState, TaskState
from ...sql import commands, datasets, files, jobs, tasks
from ...sql.error_words import in_words
from ...sql.tasks import SUSPENDED, TaskRef, ref
from ..context import Context
from ..refining import refine, tagged
from ..scouts.applying import without_measured

log = logging.getLogger(__name__)

#: The piece of a command line that names the sandbox (client protocol 7.6).
_ARCHIVE = re.compile(r"^(-a )\S+")

#: States of a task that makes jobs, or will.
ACTIVE = (TaskState.READY, TaskState.PENDING, TaskState.SCOUTING, TaskState.SCOUTED, TaskState.RUNNING)
#: Jobs that are paused or released in one command's transaction.
PAGE = 1_000_000


@dataclass
class Obeyed:
    """What a round did, in commands."""

    done: int = 0
    refused: int = 0


class TaskCommando:
    """Takes the commands in the order in which they came. Each is carried out and answered in one transaction.

    A command may meet a task that an agent holds: it moves the task all the same, and the agent's next write finds that
    it has lost the race.
    """

    name = "task_commando"
    commands_per_round = 50

    def __init__(self, context: Context) -> None:
        self.context = context
        self._actions: dict[str, Callable[[sa.Connection, sa.Row[Any], sa.Row[Any]], str]] = {
            "kill": self._kill,
            "finish": self._finish,
            "retry": self._retry,
            "incexec": self._incexec,
            "pause": self._pause,
            "resume": self._resume,
            "avalanche": self._avalanche,
            "increase_attempts": self._increase_attempts,
        }

    def run_once(self) -> Obeyed:
        report = Obeyed()
        for _ in range(self.commands_per_round):
            with self.context.engine.begin() as tx:
                command = commands.next_queued(tx)
                if command is None:
                    break
                if self._obey(tx, command):
                    report.done += 1
                else:
                    report.refused += 1
        return report

    def due_at(self, since: datetime) -> datetime | None:
        """Commands are carried out when they come."""
        return None

    def _obey(self, tx: sa.Connection, command: sa.Row[Any]) -> bool:
        """Carry out one command, or answer why not; what a refused one had begun is undone."""
        try:
            with tx.begin_nested():
                task = tasks.get_task(tx, command.jeditaskid, lock=True)
                answer, done = self._actions[command.command](tx, task, command), True
        except IllegalTransition:
            answer, done = f"a {task.status} task cannot take {command.command}", False
        except BambooError as error:
            answer, done = str(error), False
        except Exception as error:  # whatever it is: the other commands must not wait for it
            log.exception("command failed", extra={"event": "command_failed", "command_id": command.commandid})
            answer, done = f"it failed: {in_words(error)}", False
        commands.answer(tx, command.commandid, done=done, text=answer, now=self.context.clock())
        log.info(
            "command carried out" if done else "command refused",
            extra={"event": "command", "task": command.jeditaskid, "command": command.command, "answer": answer},
        )
        return done

    def _move(
        self, tx: sa.Connection, held: TaskRef, to: TaskState, command: sa.Row[Any], why: str, **also: Any
    ) -> TaskRef:
        return tasks.move_task(
            tx,
            held,
            to,
            actor=command.user_name,
            why=why,
            now=self.context.clock(),
            request_id=command.request_id,
            **also,
        )

    def _kill(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        if task.status == TaskState.ABORTING:
            return "it is being killed already"
        self._move(tx, ref(task), TaskState.ABORTING, command, "kill command")
        return "its jobs are being killed"

    def _finish(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        soft = bool(command.parameters.get("soft"))
        if task.status == TaskState.FINISHING:
            tasks.update_task(tx, task.jeditaskid, jobs_to_kill=not soft or task.jobs_to_kill)
            return "it is finishing already"
        why = f"finish command, {'soft' if soft else 'hard'}"
        self._move(tx, ref(task), TaskState.FINISHING, command, why, jobs_to_kill=not soft)
        return "its jobs may end" if soft else "its jobs are being killed"

    def _retry(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        if TaskState(task.status) in ACTIVE:
            return self._retry_active(tx, task, command)
        if task.status == TaskState.EXHAUSTED and not datasets.are_known(tx, task.jeditaskid):
            return self._incexec(tx, task, command)
        held = self._move(tx, ref(task), TaskState.TORETRY, command, "retry command")
        self._change_parameters(tx, task, command)
        n = self._free_failed(tx, task.jeditaskid)
        exhausted = task.status == TaskState.EXHAUSTED
        left = datasets.unused(tx, task.jeditaskid) if exhausted else n
        if not left:
            raise BadState("no input failed: there is nothing to try again", hint="reload_input looks for new inputs")
        self._reopen_outputs(tx, task.jeditaskid)
        inputs, are = count_text(left, "input"), "is" if n == 1 else "are"
        why = f"scouts are tried again over {inputs}" if exhausted else f"{inputs} {are} tried again"
        tags = tagged(tx, tasks.get_task(tx, task.jeditaskid), {})  # shares may have been edited since it ended
        fresh = {**tags, **_afresh(task)}
        again = _again(task, **fresh)
        self._move(tx, held, TaskState.READY, command, why, **again)
        return why

    def _retry_active(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        """A task that is not over goes on; what has failed so far gets all its attempts again."""
        self._change_parameters(tx, task, command)
        said = f"{self._free_failed(tx, task.jeditaskid)} inputs that had failed are tried again"
        if task.status != TaskState.PENDING or task.next_round_at is None:
            return said
        tasks.update_task(tx, task.jeditaskid, next_round_at=self.context.clock())
        return f"it is not left alone any longer; {said}"

    def _increase_attempts(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        increase = int(command.parameters["increase"])
        if TaskState(task.status) not in ACTIVE:
            raise BadState(
                f"a {task.status} task makes no jobs", hint="retry gives its failed inputs all attempts again"
            )
        files.add_attempts(tx, task.jeditaskid, increase)
        tasks.update_task(tx, task.jeditaskid, max_attempt=task.max_attempt + increase)
        freed = self._free_failed(tx, task.jeditaskid, keep_attempts=True)
        return f"unfinished inputs have {increase} more attempts; {freed} that had failed are tried again"

    def _free_failed(self, tx: sa.Connection, jeditaskid: int, *, keep_attempts: bool = False) -> int:
        """Make failed inputs ready again; returns how many."""
        reset = files.reset_failed(tx, jeditaskid, keep_attempts=keep_attempts)
        counts = {dataset: {"n_files_failed": -n, "n_files_used": -n} for dataset, n in reset.items()}
        datasets.add_counts(tx, counts, now=self.context.clock())
        return sum(reset.values())

    def _incexec(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        """Look the inputs up again; with `failed_too`, as of a task submitted again, try the failed ones too."""
        held = self._move(tx, ref(task), TaskState.TOINCEXEC, command, "reload_input command")
        self._change_parameters(tx, task, command)
        if command.parameters.get("failed_too"):
            self._free_failed(tx, task.jeditaskid)
        self._reopen_outputs(tx, task.jeditaskid)
        again = _again(task, **_afresh(task))
        self._move(tx, held, TaskState.REREFINE, command, "inputs are looked up again", **again)
        return "its inputs are looked up again"

    def _pause(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        if task.status == TaskState.PAUSED:
            return "it is paused already"
        self._move(tx, ref(task), TaskState.PAUSED, command, "pause command")
        n = self._move_jobs(tx, task.jeditaskid, JobState.ACTIVATED, JobState.THROTTLED, command)
        return f"{n} queued jobs are held back; running jobs go on"

    def _resume(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        if task.status not in SUSPENDED:
            raise BadState(f"a {task.status} task is not paused")
        to = TaskState(task.old_status)
        self._move(tx, ref(task), to, command, "resume command")
        n = self._move_jobs(tx, task.jeditaskid, JobState.THROTTLED, JobState.ACTIVATED, command)
        return f"it is {to} again, and {n} jobs are released"

    def _avalanche(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> str:
        if task.status not in (TaskState.SCOUTING, TaskState.EXHAUSTED):
            raise BadState(f"a {task.status} task is not scouting")
        if not datasets.are_known(tx, task.jeditaskid):
            raise BadState("its inputs are not known: there is nothing to make jobs of", hint="retry looks them up")
        # The figures of the first jobs adjust it later, as after an avalanche of its own.
        stage = max(1, task.optimisation_stage)
        also = {"optimisation_stage": stage, "error_dialog": None}
        self._move(tx, ref(task), TaskState.RUNNING, command, "avalanche command", **also)
        return "the remaining jobs are generated"

    def _move_jobs(self, tx: sa.Connection, jeditaskid: int, old: JobState, to: JobState, command: sa.Row[Any]) -> int:
        held = jobs.of_task(tx, jeditaskid, [old], limit=PAGE)
        moved = jobs.move_jobs(
            tx,
            held,
            to,
            actor=command.user_name,
            why=f"{command.command} command",
            now=self.context.clock(),
            request_id=command.request_id,
        )
        return len(moved)

    def _change_parameters(self, tx: sa.Connection, task: sa.Row[Any], command: sa.Row[Any]) -> None:
        """Store the new parameters that came with a retry; the columns that follow from them are made anew."""
        changes = command.parameters.get("new_parameters") or {}
        if not changes:
            return
        parameters = _with_sandbox({**tasks.get_parameters(tx, task.jeditaskid), **changes}, changes)
        refined = refine(self.context, task, parameters)
        tasks.set_parameters(tx, task.jeditaskid, parameters)
        measured = task.optimisation_stage > 0
        columns = without_measured(refined.columns, changes) if measured else refined.columns
        tasks.update_task(tx, task.jeditaskid, **tagged(tx, task, columns))

    def _reopen_outputs(self, tx: sa.Connection, jeditaskid: int) -> None:
        closed = [OutputDatasetState.DONE, OutputDatasetState.PREPARED]
        datasets.move_outputs(tx, jeditaskid, closed, OutputDatasetState.RUNNING, now=self.context.clock())


def _again(task: sa.Row[Any], **also: Any) -> dict[str, Any]:
    """The columns of a task that was over and goes on: nothing of how it was ended stays."""
    return {"attempt_nr": task.attempt_nr + 1, "error_dialog": None, "ended_at": None, "jobs_to_kill": False, **also}


def _afresh(task: sa.Row[Any]) -> dict[str, Any]:
    """The columns by which a task that its scouts have exhausted is scouted again: it is tried with new parameters."""
    return {"n_scouts": None, "optimisation_stage": 0} if task.status == TaskState.EXHAUSTED else {}


def _with_sandbox(parameters: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the archive that `fixedSandbox` names in the place of the first one (client protocol 6.2)."""
    archive = changes.get("fixedSandbox")
    if not archive:
        return parameters
    items = [
        {**item, "value": _ARCHIVE.sub(lambda found: found[1] + archive, item["value"], count=1)}
        if item.get("type") == "constant"
        else item
        for item in parameters.get("jobParameters") or ()
    ]
    build = parameters.get("buildSpec")
    built = {"buildSpec": {**build, "archiveName": archive}} if build else {}
    return {**parameters, "jobParameters": items, **built}
