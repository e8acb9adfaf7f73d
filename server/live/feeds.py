"""What there is to tell of tasks, jobs, logs and orders: read for all readers at once, and what is new for each."""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

import sqlalchemy as sa

from ...core.flight_records import after
from ...core.states import JOBS, LEASED, QUEUED, TaskState
from ...sql import job_queries, job_records, task_queries
from ...sql.selection import Selection
from ...sql.tables import TASKS_OVER
from ..task_rows import event_row, job_row, task_row
from .events import END, Event, Seen, compact

#: The kind of the streams that are for pilots.
ORDERS = "orders"
#: Steps of the past that a new reader is told of.
LAST_STEPS = 20
#: The jobs of a task are counted at most so often, which for large tasks is much work.
COUNT_SECONDS = 5.0
_OVER = frozenset({*TASKS_OVER, TaskState.EXHAUSTED})
_TASK_WORDS = """
jediTaskID taskName status superStatus errorDialog startTime endTime
nFiles nFilesFinished nFilesFailed nFilesOnHold pctFinished pctFailed
"""
_TASK_KEYS = tuple(_TASK_WORDS.split())
_JOB_WORDS = """
PandaID jediTaskID jobStatus jobSubStatus attemptNr computingSite node startTime endTime heartbeatTime maxRSS maxPSS
cpuConsumptionTime totRBYTES totWBYTES transExitCode pilotErrorCode pilotErrorDiag exeErrorCode exeErrorDiag
"""
_JOB_KEYS = tuple(_JOB_WORDS.split())


class Feed(Protocol):
    """Tells of objects of one kind."""

    def look(self, tx: sa.Connection, seen: Mapping[int, Seen]) -> Mapping[int, Any]:
        """What is to be told of objects, for the reader of each that has seen least."""

    def news(self, found: Any, seen: Seen) -> list[Event]:
        """What of this is new for somebody who has seen so much; the last one has the id to go on from."""


@dataclass(frozen=True)
class Situation:
    """A task or job now: its state, the steps that brought it there, and the word for its end."""

    state: Mapping[str, Any]
    steps: Sequence[Any]
    ended_as: str = ""

    def events(self, seen: Seen) -> list[Event]:
        """Steps after the last one seen, the state if it is another, and the end."""
        told = []
        for step in self.steps:
            if step.id > seen.upto:
                seen = replace(seen, upto=step.id)
                told.append(Event("step", event_row(step), seen))
        mark = _mark(compact(self.state))
        if mark != seen.mark:
            seen = replace(seen, mark=mark)
            told.append(Event("state", self.state, seen))
        if self.ended_as:
            told.append(Event(END, {"status": self.ended_as}, replace(seen, over=True)))
        return told


class TaskFeed:
    """Steps and state of tasks: inputs by what became of them, and jobs by state."""

    def __init__(self) -> None:
        self._counted: dict[int, tuple[float, dict[str, int]]] = {}

    def look(self, tx: sa.Connection, seen: Mapping[int, Seen]) -> Mapping[int, Situation]:
        ids = sorted(seen)
        found = task_queries.list_tasks(tx, Selection(ids=ids), limit=len(ids))
        inputs, waiting = task_queries.file_counts(tx, ids), task_queries.queued_commands(tx, ids)
        steps = _by(task_queries.events_after(tx, _places(seen), first=LAST_STEPS), "jeditaskid")
        self._counted = {key: value for key, value in self._counted.items() if key in seen}
        situations = {}
        for task in found:
            key, row = task.jeditaskid, task_row(task, inputs.get(task.jeditaskid))
            more = {"pendingCommands": waiting.get(key, []), "jobs": self._jobs(tx, key)}
            ended_as = task.status if task.status in _OVER and key not in waiting else ""
            if ended_as:
                more["jobs"] = task_queries.job_counts(tx, key)
            state = {name: row[name] for name in _TASK_KEYS} | more
            situations[key] = Situation(state, steps.get(key, ()), ended_as)
        return situations

    def news(self, found: Situation, seen: Seen) -> list[Event]:
        return found.events(seen)

    def _jobs(self, tx: sa.Connection, jeditaskid: int) -> dict[str, int]:
        at, counts = self._counted.get(jeditaskid, (0.0, {}))
        if not at or time.monotonic() - at >= COUNT_SECONDS:
            counts = task_queries.job_counts(tx, jeditaskid)
            self._counted[jeditaskid] = (time.monotonic(), counts)
        return counts


class JobFeed:
    """Steps and figures of jobs."""

    def look(self, tx: sa.Connection, seen: Mapping[int, Seen]) -> Mapping[int, Situation]:
        steps = _by(job_queries.events_after(tx, _places(seen), first=LAST_STEPS), "pandaid")
        situations = {}
        for key, job in job_queries.find_jobs(tx, sorted(seen)).items():
            row = job_row(job)
            state = {name: row[name] for name in _JOB_KEYS}
            situations[key] = Situation(state, steps.get(key, ()), job.status if job.status in JOBS.final else "")
        return situations

    def news(self, found: Situation, seen: Seen) -> list[Event]:
        return found.events(seen)


@dataclass(frozen=True)
class Output:
    """The end of what a job has printed, {stream: (text, its end in bytes)}; its state, and what its pilot is told."""

    streams: Mapping[str, tuple[str, int]]
    status: str
    order: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing more will come: the pilot has made its final report, or the job is over without one."""
        return self.status not in (*QUEUED, *LEASED)


class LogFeed:
    """What jobs print, on both streams. A place in a log is the bytes of stdout; its mark those of stderr."""

    def look(self, tx: sa.Connection, seen: Mapping[int, Seen]) -> Mapping[int, Output]:
        progress = job_records.progress_of(tx, sorted(seen))
        grown = [key for key, one in progress.items() if any(map(operator.lt, _ends(seen[key]), one.ends))]
        texts = job_records.texts_of(tx, grown) if grown else {}
        return {key: Output(texts.get(key, {}), one.status, one.order) for key, one in progress.items()}

    def news(self, found: Output, seen: Seen) -> list[Event]:
        told, ends = [], dict(zip(job_records.STREAMS, _ends(seen), strict=True))
        for name, (text, end) in found.streams.items():
            if more := after(text, end, ends[name]):
                data = {"text": more, "missing": max(0, end - len(text.encode()) - ends[name])}
                ends[name] = end
                told.append(Event(name, data, _place(ends)))
        if found.is_whole:
            told.append(Event(END, {"status": found.status}, replace(_place(ends), over=True)))
        return told


class OrderFeed:
    """Tells pilots that there is an order for them: a bell, as the order itself is in the answer to a report.

    The mark of a place is that of the order that a pilot has heard of.
    """

    def look(self, tx: sa.Connection, seen: Mapping[int, Seen]) -> Mapping[int, Any]:
        return job_queries.heard_of(tx, sorted(seen))

    def news(self, found: Any, seen: Seen) -> list[Event]:
        if found.status not in LEASED:
            return [Event(END, {"status": found.status}, replace(seen, over=True))]
        mark = _mark(found.command_to_pilot)
        return [] if mark == seen.mark else [Event("order", {}, replace(seen, mark=mark))]


def _mark(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _ends(seen: Seen) -> tuple[int, int]:
    return seen.upto, int(seen.mark, 16)


def _place(ends: Mapping[str, int]) -> Seen:
    return Seen(ends["stdout"], f"{ends['stderr']:x}")


def _places(seen: Mapping[int, Seen]) -> dict[int, int]:
    return {key: place.upto for key, place in seen.items()}


def _by(rows: Sequence[Any], name: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(getattr(row, name), []).append(row)
    return found


def feeds() -> dict[str, Feed]:
    """The feeds of one process, by the kinds of streams."""
    return {"task": TaskFeed(), "job": JobFeed(), "log": LogFeed(), ORDERS: OrderFeed()}
