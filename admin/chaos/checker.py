"""Judges a campaign by what clients were told, what payloads left on disk, and what is in the database."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from ...core.states import TaskState
from ...sql import books, datasets
from ...sql.books import TaskSeen
from ...sql.clock import DatabaseClock
from ...sql.engine import reading
from .history import Line, Step
from .private import LEASE, QUICK, SENT
from .workload import USER

#: What is promised (docs/doctor.md), and how it is looked at here.
INVARIANTS = {
    "I1": "no acknowledged submission is lost, and none makes two tasks",
    "I2": "each input is counted as processed exactly once, with one output",
    "I3": "no input is worked on twice at a time, and no lease that is good is taken away",
    "I4": "jobs and tasks take only steps that the tables of states have",
    "I5": "attempts only grow, each runs once, and writes only where the one before ended",
    "I6": "counters are what a recount of the rows gives",
    "I7": "at rest nobody holds a lease that is over, and no process is left behind",
    "I8": "everything is finished in time after the last fault",
    "I9": "secrets are in no log and no file of a job",
    "I10": "every step says who took it and why, every claim by which request",
}
#: A lease that is over may still be in its row for so long, until somebody looks.
LATE_SECONDS = 60.0
#: Between two runs of the chores of `bamboo up` that there may be only one of.
LONGEST_PERIOD_SECONDS = 600.0
SCANNED_BYTES = 1 << 20
#: Where secrets are allowed to be.
SECRET_FOLDERS = ("auth",)


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} ({INVARIANTS[self.invariant]}): {self.what}"


def at_rest(engine: sa.Engine, history: Sequence[Line]) -> bool:
    """Whether all that clients asked for is over, and no job is alive."""
    with reading(engine) as tx:
        seen = books.tasks_of(tx, USER)
        live = books.live_jobs(tx)
    known = {task.jeditaskid for task in seen}
    promised = {line.task_id for line in history if line.step is Step.OK}
    over = {TaskState.DONE, TaskState.FINISHED, TaskState.FAILED, TaskState.BROKEN, TaskState.ABORTED}
    return not live and promised <= known and all(task.status in over for task in seen)


def check_now(engine: sa.Engine, history: Sequence[Line], markers: Path) -> list[Violation]:
    """What must hold at any moment, also in the middle of the work. `history` is of before, or of now."""
    with reading(engine) as tx:
        found = [*_lost(_last(history), _by_name(books.tasks_of(tx, USER))), *_always(tx)]
    return [*found, *runs(markers)]


def check(engine: sa.Engine, history: Sequence[Line], markers: Path) -> list[Violation]:
    """Everything that can be told of the books when the work is over."""
    with reading(engine) as tx:
        seen = books.tasks_of(tx, USER)
        late = DatabaseClock(engine)() - timedelta(seconds=LATE_SECONDS)
        long_due = late - timedelta(seconds=LONGEST_PERIOD_SECONDS)
        found = [
            *submissions(history, seen),
            *_inputs(tx, seen, history),
            *_always(tx),
            *_counters(tx, seen),
            *(
                Violation("I7", f"{what}: its lease is over")
                for what in books.overdue_leases(tx, before=late, begun_before=long_due)
            ),
        ]
    return [*found, *runs(markers)]


def _always(tx: sa.Connection) -> Iterator[Violation]:
    """What the logs and the rows of jobs must never say."""
    leases = {"lease_seconds": float(QUICK[LEASE]), "sent_seconds": float(QUICK[SENT])}
    yield from (Violation("I2", f"{n} {what} are there more than once") for what, n in books.doubles(tx).items())
    yield from (Violation("I3", loss) for loss in books.early_losses(tx, **leases))
    yield from (Violation("I4", step) for step in books.illegal_steps(tx))
    yield from (Violation("I5", line) for line in books.broken_chains(tx))
    yield from (Violation("I10", f"{n} {what}") for what, n in books.unexplained(tx).items())


def _last(history: Iterable[Line]) -> dict[str, Line]:
    return {line.task_name: line for line in history}


def _by_name(seen: Sequence[TaskSeen]) -> dict[str, list[int]]:
    by_name: dict[str, list[int]] = defaultdict(list)
    for task in seen:
        by_name[task.task_name].append(task.jeditaskid)
    return by_name


def _lost(last: Mapping[str, Line], by_name: Mapping[str, list[int]]) -> Iterator[Violation]:
    for name, line in last.items():
        there = by_name.get(name, [])
        if line.step is Step.OK and there != [line.task_id]:
            yield Violation("I1", f"{name} was acknowledged as task {line.task_id}, and there is {there or 'none'}")


def submissions(history: Iterable[Line], seen: Sequence[TaskSeen]) -> Iterator[Violation]:
    """I1: what was acknowledged is there as it was told, what is unknown is there once at most, and nothing else is."""
    last, by_name = _last(history), _by_name(seen)
    yield from _lost(last, by_name)
    for name, line in last.items():
        there = by_name.pop(name, [])
        if line.step is Step.FAIL and there:
            yield Violation("I1", f"{name} was refused, and there is {there}")
        elif line.step is not Step.OK and len(there) > 1:
            yield Violation("I1", f"{name} was sent once, and there are {there}")
    for name, there in by_name.items():
        yield Violation("I1", f"nobody has submitted {name}, and there is {there}")


def _inputs(tx: sa.Connection, seen: Sequence[TaskSeen], history: Iterable[Line]) -> Iterator[Violation]:
    """I2: all inputs of tasks that are over are finished, and for each there is one output, of the attempt booked."""
    asked = {line.task_name: line.n_inputs for line in history}
    for task in seen:
        n_asked = asked.get(task.task_name, 0)
        if (task.status, task.n_inputs, task.n_finished) != (TaskState.DONE, n_asked, n_asked):
            told = f"{task.n_finished} of {task.n_inputs} are finished, {n_asked} were asked for"
            yield Violation("I2", f"task {task.jeditaskid} is {task.status}: of its inputs {told}")
        outputs = list(books.inputs_and_outputs(tx, task.jeditaskid))
        made = Counter(output.lfn for output in outputs)
        if task.status == TaskState.DONE and (len(made), set(made.values())) != (n_asked, {1}):
            yield Violation("I2", f"task {task.jeditaskid} has outputs of inputs {dict(made)}, of {n_asked}")
        for output in outputs:
            wanted, there = f"{output.lfn} {output.pandaid}.{output.attempt_nr}", _content(output.url)
            if there != wanted:
                told = f"the output at {output.url} holds {there!r}, not {wanted!r}"
                yield Violation("I2", f"task {task.jeditaskid}: {told}")


def _content(url: str) -> str | None:
    try:
        return Path(unquote(urlsplit(url).path)).read_text()
    except OSError:
        return None


def _counters(tx: sa.Connection, seen: Sequence[TaskSeen]) -> Iterator[Violation]:
    for task in seen:
        for dataset, differing in datasets.recount(tx, task.jeditaskid).items():
            yield Violation("I6", f"task {task.jeditaskid}, dataset {dataset}: {differing} (kept, counted)")


def runs(markers: Path) -> Iterator[Violation]:
    """I3: no payload found its input locked by another one; I5: each attempt runs once, and none after a newer one."""
    for name, lines in _told(markers):
        jobs = [line["pandaid"] for line in lines if line["what"] == "overlap"]
        if jobs:
            yield Violation("I3", f"{name}: jobs {jobs} found it locked by another job")
        begun = [line["attempt_nr"] for line in lines if line["what"] == "start"]
        if any(after <= before for before, after in pairwise(begun)):
            yield Violation("I5", f"{name}: attempts began in the order {begun}")


def n_runs(markers: Path) -> tuple[int, int]:
    """How many payloads began, and how many came to their end."""
    told = Counter(line["what"] for _, lines in _told(markers) for line in lines)
    return told["start"], told["end"]


def _told(markers: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """For each input of a task, what its payloads have left; a line that is being written is left out."""
    for log in sorted(markers.glob("*.jsonl")):
        yield log.stem, [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def leaks(root: Path, secrets: Sequence[bytes]) -> Iterator[Violation]:
    """I9: files below a folder that hold a secret; where keys are kept, they may."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        is_own = path.is_file() and not path.is_symlink() and not set(SECRET_FOLDERS).intersection(inside)
        if is_own and _holds(path, secrets):
            yield Violation("I9", f"{path} holds a secret")


def _holds(path: Path, secrets: Sequence[bytes]) -> bool:
    overlap = max(map(len, secrets))
    before = b""
    try:
        with path.open("rb") as source:
            while chunk := source.read(SCANNED_BYTES):
                if any(secret in before + chunk for secret in secrets):
                    return True
                before = chunk[-overlap:]
    except OSError:
        return False
    return False
