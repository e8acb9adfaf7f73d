"""Event ranges for pilots: handing them out, and taking what is told of them (manual ch. 7.1.3; pilot protocol 10).

Both act only on a job that a pilot has. A pilot that names its attempt is refused when the job is at another one; the
names of ranges carry their own attempt, so that a late word changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from ..core.errors import Fault, Invalid, Stale
from ..core.states import EventState
from ..sql import accounting, event_ranges, job_queries
from ..sql.event_ranges import RangeId, Told
from .bodies import SEVERAL, WireBody, check
from .identity import Caller
from .pilot_reports import number

#: Ranges in one answer, and in one report.
MAX_RANGES = 10_000

Ranges = Annotated[list[dict[str, Any]], SEVERAL, Field(max_length=MAX_RANGES)]
Names = Annotated[list[str], Field(max_length=MAX_RANGES)]


class Wanted(WireBody):
    """A pilot asks for ranges. PanDA's do not name their attempt, nor what they have in hand already."""

    job_id: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    n_ranges: Annotated[int, Field(ge=1, le=MAX_RANGES)] = 1
    attempt_nr: int | None = None
    in_hand: Names | None = None


class Reported(WireBody):
    """Several ranges of which something is told."""

    event_ranges: Ranges
    version: int = 0


class Output(WireBody):
    """A file that a range has made, as in the output report of a job."""

    lfn: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s,/\x00-\x1f]+$")]
    guid: Annotated[str | None, Field(max_length=64)] = None
    fsize: Annotated[int, Field(ge=0, le=2**63 - 1)]
    adler32: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{1,8}$")]
    surl: Annotated[str, Field(min_length=1, max_length=1024)]
    endpoint: Annotated[str | None, Field(max_length=128)] = None


class OneRange(WireBody):
    """What is told of one range. `outputs` by the names that the job's definition gives them."""

    name: str = Field("", alias="eventRangeID", max_length=128)
    status: Literal["running", "finished", "failed", "fatal"] | None = Field(None, alias="eventStatus")
    outputs: Annotated[dict[str, Output], Field(default_factory=dict, max_length=100)]
    error_diag: str | None = Field(None, alias="errorDiag")


def hand_out(tx: sa.Connection, wanted: Wanted, caller: Caller) -> list[dict[str, Any]]:
    """The next ranges of a job, as pilots read them; none for a job without ranges, or that no pilot has.

    `startEvent` and `lastEvent` count from 1 within the file. Raises `Stale`, and `NotAllowed` if the pilot's token is
    for other queues, or for another attempt.
    """
    attempt_nr = caller.attempt_at(wanted.job_id, wanted.attempt_nr)
    job = event_ranges.hold_job(tx, wanted.job_id)
    if job is None:
        return []
    _must_hold(caller, job, attempt_nr)
    rows = event_ranges.hand_out(tx, job.pandaid, limit=wanted.n_ranges, in_hand=wanted.in_hand)
    return [
        {
            "eventRangeID": str(RangeId.of(row)),
            "LFN": row.lfn,
            "scope": row.scope,
            "GUID": row.guid,
            "startEvent": row.first_event,
            "lastEvent": row.last_event,
        }
        for row in rows
    ]


def take_reports(tx: sa.Connection, reported: Sequence[Mapping[str, Any]], caller: Caller) -> list[bool]:
    """Let what is told of ranges take effect; says of each whether it does, or did before.

    Raises before anything changes: `Invalid` with all faults, as a range is finished only with all that it must have
    made, `NotAllowed` if the pilot's token is for other queues or another job, and `Stale` if its attempt is over.
    """
    archived = [at for at, one in enumerate(reported) if "zipFile" in one]
    if archived:
        how = "report each range with its outputs (docs/events.md)"
        raise Invalid(
            "the report on event ranges",
            [Fault(f"event_ranges[{at}].zipFile", "ranges in archives are not taken", how) for at in archived],
        )
    told = [check(OneRange, dict(one)) for one in reported]
    names = [RangeId.parse(one.name) for one in told]
    wanted = sorted({name.pandaid for name in names if name is not None})
    attempts = {pandaid: caller.attempt_at(pandaid, None) for pandaid in wanted}
    held = [job for pandaid in wanted if (job := event_ranges.hold_job(tx, pandaid)) is not None]
    for job in held:
        _must_hold(caller, job, attempts[job.pandaid])
    planned = _planned(tx, [job.pandaid for job in held])
    known = [
        (at, one, name)
        for at, (one, name) in enumerate(zip(told, names, strict=True))
        if name and name.pandaid in planned
    ]
    faults = [fault for at, one, name in known for fault in _faults(at, one, planned[name.pandaid])]
    if faults:
        raise Invalid("the report on event ranges", faults)
    answers = [False] * len(told)
    for at, one, name in known:
        answers[at] = event_ranges.tell(tx, _told(one, name, planned[name.pandaid]))
    return answers


def orders(tx: sa.Connection, reported: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The orders that wait for the pilots of the jobs of these ranges: {job: order}."""
    names = [RangeId.parse(str(one.get("eventRangeID", ""))) for one in reported]
    waiting = job_queries.orders_of(tx, sorted({name.pandaid for name in names if name}))
    return {str(pandaid): order for pandaid, order in waiting.items()}


def job_id(value: Any) -> int:
    """The job that a client means; 0 when it means none."""
    found = number(value)
    return int(found) if found is not None and 0 < found < 2**63 else 0


def statuses(tx: sa.Connection, pandaids: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The ranges of jobs: {job: {name: {status, error, dialog}}}."""
    return {
        str(pandaid): {
            str(RangeId.of(row)): {"status": row.status, "error": None, "dialog": row.error_diag} for row in rows
        }
        for pandaid, rows in event_ranges.of_jobs(tx, pandaids).items()
    }


def _must_hold(caller: Caller, job: Any, attempt_nr: int | None) -> None:
    """Raise `Stale` unless a job is at an attempt (if one is named), and `NotAllowed` for a token of other queues."""
    caller.must_serve(job.queue, f"job {job.pandaid}")
    if attempt_nr is not None and attempt_nr != job.attempt_nr:
        raise Stale(f"job {job.pandaid} is at attempt {job.attempt_nr}, this is about attempt {attempt_nr}")


def _planned(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The outputs that each range of jobs makes: {job: {planned name: row of job_files}}."""
    planned: dict[int, dict[str, Any]] = defaultdict(dict)
    for pandaid, rows in accounting.job_files_of(tx, pandaids).items():
        planned[pandaid] = {row.lfn: row for row in rows if row.type == "tmpl_output"}
    return planned


def _faults(at: int, one: OneRange, planned: Mapping[str, Any]) -> Iterator[Fault]:
    where = f"event_ranges[{at}].outputs"
    if one.status is None:
        yield Fault(f"event_ranges[{at}].eventStatus", "missing", "running, finished, failed or fatal")
    if one.status != "finished":
        return
    for lfn, row in planned.items():
        if lfn not in one.outputs and not row.may_be_missing:
            yield Fault(where, f"{lfn} is missing", "tell where the range's file is: lfn, fsize, adler32, surl")
    for lfn, output in one.outputs.items():
        if lfn not in planned:
            yield Fault(where, f"{lfn[:80]} is no output of the job", f"one of {', '.join(planned)}"[:500])
        elif output.lfn != f"{lfn}.{one.name}":
            yield Fault(f"{where}.{lfn[:80]}", "the name is not the range's own", f"call it {lfn}.{one.name}")


def _told(one: OneRange, name: RangeId, planned: Mapping[str, Any]) -> Told:
    outputs = {
        str(planned[lfn].datasetid): {
            "lfn": made.lfn,
            "scope": planned[lfn].scope,
            "guid": made.guid,
            "size_bytes": made.fsize,
            "checksum": f"ad:{made.adler32.lower():0>8}",
            "url": made.surl,
            "storage": made.endpoint,
        }
        for lfn, made in one.outputs.items()
        if lfn in planned
    }
    return Told(name, EventState(str(one.status)), outputs, (one.error_diag or "")[:500] or None)
