"""What follows from a retry rule (manual ch. 20): fewer attempts, and needs of inputs that their next jobs meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import InputFileState
from . import decisions
from .tables import files, input_needs, task_params, tasks, work_queues

#: Who is written down as having decided.
ACTOR = "retry"


@dataclass(frozen=True, order=True)
class Needs:
    """What jobs over some inputs ask for at least (memory, wall time) or take at most (files); 0: as the task says."""

    ram_count_mb: int = 0
    max_walltime_seconds: int = 0
    max_files_per_job: int = 0

    def joined(self, other: Needs) -> Needs:
        """What meets both."""
        parts = [n for n in (self.max_files_per_job, other.max_files_per_job) if n]
        return Needs(
            max(self.ram_count_mb, other.ram_count_mb),
            max(self.max_walltime_seconds, other.max_walltime_seconds),
            min(parts, default=0),
        )


@dataclass(frozen=True, kw_only=True)
class Retry:
    """What retry rules decided about the inputs of a failed job, to be booked with its end.

    `why` is for people. `max_attempt` None and empty `needs` leave the inputs as they are. `free_attempts` is how many
    failures of an input are not charged to it, 0: this one is charged.
    """

    jeditaskid: int
    why: str
    rules: tuple[str, ...] = ()
    passive: tuple[str, ...] = ()
    max_attempt: int | None = None
    needs: Needs = Needs()
    free_attempts: int = 0

    def is_free(self, file: Any) -> bool:
        """Whether a row of `files`, or one with its `free_attempts`, is not charged this failure."""
        return (file.free_attempts or 0) < self.free_attempts


@dataclass(frozen=True)
class Scope:
    """What rules may be limited to: the architecture, release and work queue (number and name) of a task."""

    architecture: str | None = None
    release: str | None = None
    work_queues: tuple[str, ...] = ()


class Scopes:
    """The scopes of tasks, each looked up once in a transaction."""

    def __init__(self, tx: sa.Connection) -> None:
        self._tx = tx
        self._known: dict[int, Scope] = {}

    def __call__(self, jeditaskid: int) -> Scope:
        """The scope of a task; empty if the task is forgotten."""
        if jeditaskid not in self._known:
            self._known[jeditaskid] = _scope_of(self._tx, jeditaskid)
        return self._known[jeditaskid]


def _scope_of(tx: sa.Connection, jeditaskid: int) -> Scope:
    row = tx.execute(
        sa.select(
            tasks.c.architecture,
            tasks.c.work_queue_id,
            work_queues.c.queue_name,
            task_params.c.parameters,
        )
        .select_from(tasks)
        .outerjoin(work_queues, work_queues.c.queue_id == tasks.c.work_queue_id)
        .outerjoin(task_params, task_params.c.jeditaskid == tasks.c.jeditaskid)
        .where(tasks.c.jeditaskid == jeditaskid)
    ).first()
    if row is None:
        return Scope()
    release = (row.parameters or {}).get("transUses") or None
    words = tuple(str(word) for word in (row.work_queue_id, row.queue_name) if word is not None)
    return Scope(row.architecture, str(release) if release else None, words)


class Bookings:
    """Books what rules decided, in one transaction: a decision for each task and reason, and the needs of inputs."""

    def __init__(self, tx: sa.Connection) -> None:
        self._tx = tx
        self._needs: dict[int, Needs] = {}
        self._ids: dict[tuple[int, Needs], int | None] = {}

    def record(self, retries: Iterable[tuple[int, Retry]], *, now: datetime) -> None:
        """Write down which rules fired, and which would have, over [(pandaid, what was decided)].

        Those of a task together and in the order of tasks, so that two writers never wait for each other in a circle.
        """
        alike: dict[tuple[int, str, str, tuple[str, ...]], list[tuple[int, Retry]]] = defaultdict(list)
        for pandaid, retry in retries:
            if retry.rules or retry.passive:
                fired = ", ".join(retry.rules)
                what = f"fired: {fired}" if fired else f"passive: {', '.join(retry.passive)}"
                alike[retry.jeditaskid, what, retry.why, retry.passive].append((pandaid, retry))
        for (jeditaskid, what, _, passive), some in sorted(alike.items(), key=lambda item: item[0]):
            pandaid, example = some[-1]
            why: dict[str, Any] = {"rule": example.why, "jobs": len(some), "example": f"job {pandaid}"}
            if passive:
                why["passive"] = f"would have fired: {', '.join(passive)}"
            decisions.record_kind(
                self._tx, actor=ACTOR, what=what, why=why, kind="rule", now=now, jeditaskid=jeditaskid, pandaid=pandaid
            )

    def needsid(self, retry: Retry | None, old: int | None) -> int | None:
        """The row for what an input needs now that had the needs `old`; None if no more than the task says."""
        if retry is None or retry.needs == Needs():
            return old
        needs = self._of(old).joined(retry.needs) if old is not None else retry.needs
        key = (retry.jeditaskid, needs)
        if key not in self._ids:
            self._ids[key] = _enter(self._tx, retry.jeditaskid, needs)
        return self._ids[key]

    def _of(self, needsid: int) -> Needs:
        if needsid not in self._needs:
            row = self._tx.execute(sa.select(input_needs).where(input_needs.c.needsid == needsid)).first()
            self._needs[needsid] = _read(row) if row is not None else Needs()
        return self._needs[needsid]


def _read(row: Any) -> Needs:
    return Needs(row.ram_count_mb, row.max_walltime_seconds, row.max_files_per_job)


def _enter(tx: sa.Connection, jeditaskid: int, needs: Needs) -> int:
    """The row of these needs, entered unless somebody has: of two who do it at once, one finds that of the other."""
    values = {
        "jeditaskid": jeditaskid,
        "ram_count_mb": needs.ram_count_mb,
        "max_walltime_seconds": needs.max_walltime_seconds,
        "max_files_per_job": needs.max_files_per_job,
    }
    found = sa.select(input_needs.c.needsid).where(*(input_needs.c[name] == value for name, value in values.items()))
    needsid = tx.scalar(found)
    if needsid is None:
        try:
            with tx.begin_nested():
                return int(
                    tx.execute(sa.insert(input_needs).values(**values).returning(input_needs.c.needsid)).scalar_one()
                )
        except sa.exc.IntegrityError:
            needsid = tx.execute(found).scalar_one()
    return int(needsid)


def needs_in_turn(tx: sa.Connection, jeditaskid: int, datasetid: int) -> list[tuple[int | None, Needs]]:
    """What ready inputs need, in the order in which they get jobs: (None, none) first, then the least; never empty.

    One query for tasks whose inputs need no more than the task says. Who makes jobs passes over needs that no queue
    meets, so that the inputs which have them are the only ones that wait (`plugins.questions.Question.settled`).
    """
    rows = list(tx.execute(sa.select(input_needs).where(input_needs.c.jeditaskid == jeditaskid)))
    if not rows:
        return [(None, Needs())]
    ready = sa.select(files.c.needsid).where(files.c.datasetid == datasetid, files.c.status == InputFileState.READY)
    there = set(tx.scalars(ready.distinct()))
    found = [(int(row.needsid), _read(row)) for row in rows if row.needsid in there]
    none: list[tuple[int | None, Needs]] = [(None, Needs())] if None in there or not found else []
    return none + sorted(found, key=lambda one: one[1])


def has_needs(needsid: int | None) -> sa.ColumnElement[bool]:
    """The condition that a file has these needs."""
    return files.c.needsid.is_(None) if needsid is None else files.c.needsid == needsid


def values_of(retry: Retry | None, needsid: int | None) -> Mapping[str, Any]:
    """Columns to set of an input whose job failed."""
    values: dict[str, Any] = {"needsid": needsid}
    if retry is not None and retry.max_attempt is not None:
        most = retry.max_attempt
        values["max_attempt"] = sa.case((files.c.max_attempt > most, most), else_=files.c.max_attempt)
    return values


def rules_text(rules: Sequence[str]) -> str | None:
    """The names of rules for the column of a job."""
    return ", ".join(rules)[:255] or None
