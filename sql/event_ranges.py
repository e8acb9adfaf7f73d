"""Event ranges: entering them, handing them out, and what pilots tell of them (manual ch. 7.1.3, Event).

A range is a few consecutive events of one input file. The job that owns the file owns its ranges. What is told of a
range is fenced by the job and by the range's attempt number, which grows with every hand-out: a late word about a
former hand-out, or from a former job, changes nothing, and a range is finished once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..core.states import EVENTS, LEASED, EventState
from . import bulk
from .jobs import batches
from .tables import datasets, events, files, jobs, tasks

#: Ranges that wait for their next job.
WAITING_FOR_A_JOB = (EventState.CANCELLED, EventState.FAILED, EventState.DISCARDED, EventState.CORRUPTED)
#: What a pilot may say of a range that it has.
TOLD = (EventState.RUNNING, EventState.FINISHED, EventState.FAILED, EventState.FATAL)


@dataclass(frozen=True)
class RangeId:
    """The name of one hand-out of a range on the wire: `task-job-file-first event-attempt` (PanDA's shape)."""

    jeditaskid: int
    pandaid: int
    fileid: int
    first_event: int
    attempt_nr: int

    @classmethod
    def of(cls, row: Any) -> RangeId:
        """The name of a row of `events`."""
        return cls(row.jeditaskid, row.pandaid or 0, row.fileid, row.first_event, row.attempt_nr)

    @classmethod
    def parse(cls, text: str) -> RangeId | None:
        """The name that a text is; None when it is none."""
        parts = text.split("-")
        if len(parts) != 5 or not all(part.isascii() and part.isdecimal() and len(part) <= 18 for part in parts):
            return None
        return cls(*(int(part) for part in parts))

    def __str__(self) -> str:
        return f"{self.jeditaskid}-{self.pandaid}-{self.fileid}-{self.first_event}-{self.attempt_nr}"


@dataclass(frozen=True)
class NewRanges:
    """A file that a job was made for, and the spans of its ranges as (first event, last event), both included."""

    pandaid: int
    jeditaskid: int
    datasetid: int
    fileid: int
    max_attempt: int
    spans: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Told:
    """What a pilot tells of a range. `outputs` as the column of that name has them."""

    name: RangeId
    status: EventState
    outputs: Mapping[str, Mapping[str, Any]] | None = None
    diag: str | None = None


def give(tx: sa.Connection, new: Sequence[NewRanges]) -> None:
    """Give the ranges of files to the new jobs of these: enter those of new files, open the rest of the others again.

    In the transaction that enters the jobs. Ranges that are done, merged or given up stay as they are.
    """
    by_file = {one.fileid: one for one in new}
    known: set[int] = set()
    for some in batches(list(by_file)):
        known.update(tx.scalars(sa.select(events.c.fileid).where(events.c.fileid.in_(some)).distinct()))
    rows = [
        {
            "jeditaskid": one.jeditaskid,
            "datasetid": one.datasetid,
            "fileid": one.fileid,
            "pandaid": one.pandaid,
            "max_attempt": one.max_attempt,
            "status": EventState.READY,
            "first_event": first,
            "last_event": last,
        }
        for one in new
        if one.fileid not in known
        for first, last in one.spans
    ]
    bulk.insert(tx, events, rows)
    open_again = (EventState.READY, *WAITING_FOR_A_JOB)
    gifts = [{"the_file": fileid, "the_job": by_file[fileid].pandaid} for fileid in sorted(known)]
    if gifts:
        statement = sa.update(events).where(
            events.c.fileid == sa.bindparam("the_file"), events.c.status.in_(open_again)
        )
        tx.execute(statement.values(status=EventState.READY, pandaid=sa.bindparam("the_job")), gifts)


def hand_out(tx: sa.Connection, pandaid: int, *, limit: int, in_hand: Iterable[str] | None = None) -> list[sa.Row[Any]]:
    """The next ranges of a job, in the order of events, as `sent`; the caller holds the job and has checked it.

    `in_hand` are the names of those that the pilot has: others that were sent, whose answer it never got, are sent
    again, under a new name and at nobody's charge. Without it they stay as they are until the job is over.
    """
    wanted = sa.and_(events.c.pandaid == pandaid, events.c.status == EventState.READY)
    if in_hand is not None:
        held = {(name.fileid, name.first_event, name.attempt_nr) for name in map(RangeId.parse, in_hand) if name}
        sent = tx.execute(sa.select(events).where(events.c.pandaid == pandaid, events.c.status == EventState.SENT))
        lost = [row.eventid for row in sent if (row.fileid, row.first_event, row.attempt_nr) not in held]
        for some in batches(lost):
            statement = sa.update(events).where(events.c.eventid.in_(some))
            tx.execute(statement.values(status=EventState.READY, max_attempt=events.c.max_attempt + 1))
    chosen = sa.select(events.c.eventid).where(wanted).order_by(events.c.fileid, events.c.first_event).limit(limit)
    ids = list(tx.scalars(chosen))
    if not ids:
        return []
    statement = sa.update(events).where(events.c.eventid.in_(ids))
    tx.execute(statement.values(status=EventState.SENT, attempt_nr=events.c.attempt_nr + 1, error_diag=None))
    return of_ids(tx, ids)


def of_ids(tx: sa.Connection, ids: Sequence[int]) -> list[sa.Row[Any]]:
    """Ranges with the name, scope and guid of their files, in the order of events."""
    statement = (
        sa.select(events, files.c.lfn, files.c.scope, files.c.guid)
        .join(files, files.c.fileid == events.c.fileid)
        .where(events.c.eventid.in_(ids))
        .order_by(events.c.fileid, events.c.first_event)
    )
    return list(tx.execute(statement))


def tell(tx: sa.Connection, told: Told) -> bool:
    """Let a word on a range take effect; whether it does, or had done so before.

    False for a hand-out that is over: of a former attempt or job, or one that ended otherwise. The caller holds the
    job and has checked that a pilot has it.
    """
    name = told.name
    mine = sa.and_(
        events.c.fileid == name.fileid,
        events.c.first_event == name.first_event,
        events.c.pandaid == name.pandaid,
        events.c.jeditaskid == name.jeditaskid,
        events.c.attempt_nr == name.attempt_nr,
    )
    at_work = [s for s in (EventState.SENT, EventState.RUNNING) if EVENTS.allows(s, told.status)]
    outputs = dict(told.outputs) if told.outputs and told.status is EventState.FINISHED else None
    statement = sa.update(events).where(mine, events.c.status.in_(at_work))
    if tx.execute(statement.values(status=told.status, outputs=outputs, error_diag=(told.diag or None))).rowcount:
        return True
    return tx.scalar(sa.select(events.c.status).where(mine)) == told.status


def hold_job(tx: sa.Connection, pandaid: int) -> sa.Row[Any] | None:
    """The row of a job that processes event ranges and that a pilot has now, held for this transaction; else None."""
    statement = sa.select(jobs).where(jobs.c.pandaid == pandaid, jobs.c.is_event_service, jobs.c.status.in_(LEASED))
    return tx.execute(statement.with_for_update()).first()


def n_ready(tx: sa.Connection, pandaid: int) -> int:
    """How many ranges a job may still ask for."""
    statement = sa.select(sa.func.count()).where(events.c.pandaid == pandaid, events.c.status == EventState.READY)
    return int(tx.execute(statement).scalar_one())


def of_jobs(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    """The ranges that jobs have, or were the last to have: {pandaid: rows in the order of events}."""
    found: dict[int, list[sa.Row[Any]]] = {pandaid: [] for pandaid in pandaids}
    for some in batches(list(found)):
        statement = sa.select(events).where(events.c.pandaid.in_(some)).order_by(events.c.fileid, events.c.first_event)
        for row in tx.execute(statement):
            found[row.pandaid].append(row)
    return found


def counts_of_task(tx: sa.Connection, jeditaskid: int) -> dict[str, int]:
    """How many ranges of a task are in which state; those that are not entered yet are not counted."""
    ids = sa.select(datasets.c.datasetid).where(datasets.c.jeditaskid == jeditaskid, datasets.c.is_master)
    statement = sa.select(events.c.status, sa.func.count()).where(events.c.datasetid.in_(ids)).group_by(events.c.status)
    return {row[0]: int(row[1]) for row in tx.execute(statement)}


def retry_fatal(tx: sa.Connection, jeditaskid: int) -> int:
    """Give ranges of a task that were tried too often all attempts again; returns how many."""
    attempts = sa.select(tasks.c.max_attempt).where(tasks.c.jeditaskid == jeditaskid).scalar_subquery()
    statement = sa.update(events).where(events.c.jeditaskid == jeditaskid, events.c.status == EventState.FATAL)
    return tx.execute(statement.values(status=EventState.READY, max_attempt=events.c.attempt_nr + attempts)).rowcount
