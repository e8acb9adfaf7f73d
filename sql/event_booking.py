"""What the end of a job means for the event ranges of its file, in the transaction that books the job.

`decide` says before the booking how jobs of the event service end; `settle` moves the ranges of those that were
booked. Both stand in `accounting.book`, so that there is no way to end a job past them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..core.event_service import After, RangesAtEnd, end_of_job
from ..core.job_errors import RANGES_FAILED, RANGES_LEFT
from ..core.states import QUEUED, EventState, InputFileState, JobState, OutputFileState, TaskState
from . import bulk
from .jobs import batches
from .tables import datasets, events, files, job_files, jobs, tasks

if TYPE_CHECKING:
    from .accounting import Ending

_AT_WORK = (EventState.SENT, EventState.RUNNING)
#: Tasks that get no new jobs: what is done of a file is merged with its last one.
_ENDING = (TaskState.FINISHING, TaskState.PASSED)
_MADE = ("lfn", "scope", "guid", "size_bytes", "checksum", "url", "storage")


def decide(tx: sa.Connection, endings: Sequence[Ending], owned: Mapping[int, Any]) -> list[Ending]:
    """The endings, those of event service jobs as their ranges want it. Jobs must be held by the transaction.

    `owned` are the files of these jobs, as `files_of` gives them before the booking.
    """
    return [
        _decided(tx, ending, owned[ending.job.pandaid]) if _is_open(ending, owned) else ending for ending in endings
    ]


def _is_open(ending: Ending, owned: Mapping[int, Any]) -> bool:
    """Whether it is still to be said how the job ends: not after a command, and not when it was merged."""
    by_itself = ending.to in (JobState.MERGING, JobState.FAILED) and ending.job.status is not JobState.MERGING
    return by_itself and ending.job.pandaid in owned


def _decided(tx: sa.Connection, ending: Ending, file: Any) -> Ending:
    rows = tx.execute(sa.select(events).where(events.c.fileid == file.fileid)).all()
    free = _is_free(ending, file)
    ranges = _at_end(rows, ending.job.pandaid, free)
    has_attempts = file.failed_attempts + (0 if free else 1) < file.max_attempt
    refused = ending.to is JobState.FAILED and has_attempts and not ending.give_back.get(file.fileid, True)
    may_try_again = not refused and file.task_status not in _ENDING
    after = end_of_job(ranges, may_try_again=may_try_again, file_has_attempts=has_attempts)
    last_words = _last_words(rows, ending.job.pandaid)
    if after is After.MERGE and ending.job.status not in QUEUED:
        lost = f"; {ranges.given_up} were given up{last_words}" if ranges.given_up else ""
        return replace(ending, to=JobState.MERGING, why=f"{ranges.done} event ranges wait to be merged{lost}")
    again = after in (After.AGAIN, After.CHARGED)
    charged = after is not After.AGAIN
    why, errors = ending.why, ending.errors
    if ending.to is JobState.MERGING:  # the pilot saw no failure
        error = RANGES_FAILED if last_words else RANGES_LEFT
        why = f"{error.meaning}: {ranges.open} to be tried again, {ranges.given_up} given up{last_words}"
        errors = {**errors, **error.columns(why)}
    return replace(ending, to=JobState.FAILED, why=why, errors=errors, give_back={file.fileid: again}, charged=charged)


def _last_words(rows: Sequence[Any], pandaid: int) -> str:
    """What the pilot said of the last failed range of a job, of which the job itself says nothing."""
    failed = [row for row in rows if row.pandaid == pandaid and row.error_diag]
    if not failed:
        return ""
    last = max(failed, key=lambda row: row.first_event)
    return f"; events {last.first_event} to {last.last_event}: {last.error_diag}"


def _is_free(ending: Ending, file: Any) -> bool:
    """Whether the failure is nobody's fault: neither the file nor the ranges that were being worked on are charged."""
    return ending.retry is not None and ending.retry.is_free(file)


def _at_end(rows: Sequence[Any], pandaid: int, free: bool) -> RangesAtEnd:
    ends = Counter(_end_of_range(row, free) for row in rows)
    mine = sum(1 for row in rows if row.pandaid == pandaid and row.status == EventState.FINISHED)
    return RangesAtEnd(
        done=ends[EventState.DONE],
        by_this_job=mine,
        merged=ends[EventState.MERGED],
        open=sum(ends[state] for state in (EventState.READY, EventState.CANCELLED, EventState.FAILED)),
        given_up=ends[EventState.FATAL],
    )


def _end_of_range(row: Any, free: bool) -> EventState:
    """What becomes of a range when its job ends before merging."""
    status = EventState(row.status)
    if status is EventState.FINISHED:
        return EventState.DONE
    used_up = row.attempt_nr >= row.max_attempt
    if status in _AT_WORK:
        return EventState.FATAL if used_up and not free else EventState.CANCELLED
    if status is EventState.FAILED and used_up:
        return EventState.FATAL
    return EventState.READY if status in (EventState.DISCARDED, EventState.CORRUPTED) else status


def settle(
    tx: sa.Connection, booked: Sequence[Ending], owned: Mapping[int, Any], counts: dict[int, dict[str, int]]
) -> set[int]:
    """Move the ranges of booked jobs, and enter what is to be merged; adds to the counters of datasets.

    Returns the files of which some ranges are in a merged output and others will never be, unless they are retried.
    To be called while the jobs still own their files.
    """
    partial: set[int] = set()
    for ending in booked:
        file = owned.get(ending.job.pandaid)
        if file is None:
            continue
        if ending.job.status is JobState.MERGING:
            to = EventState.MERGED if ending.to is JobState.FINISHED else EventState.DISCARDED
            _move(tx, file.fileid, [EventState.DONE], to)
        else:
            _end_ranges(tx, file.fileid, _is_free(ending, file))
            if ending.to is JobState.MERGING:
                _enter_to_merge(tx, ending.job.pandaid, file.fileid, counts)
        states = set(tx.scalars(sa.select(events.c.status).where(events.c.fileid == file.fileid)))
        if EventState.MERGED in states and len(states) > 1:
            partial.add(file.fileid)
    return partial


def _end_ranges(tx: sa.Connection, fileid: int, free: bool) -> None:
    """Finished ranges are done, those that were being worked on are cancelled, or given up.

    Those of a `free` failure may be tried once more than before: their attempt was handed out, and stays counted.
    """
    if free:
        at_work = sa.update(events).where(events.c.fileid == fileid, events.c.status.in_(_AT_WORK))
        tx.execute(at_work.values(max_attempt=events.c.max_attempt + 1))
    used_up = events.c.attempt_nr >= events.c.max_attempt
    _move(tx, fileid, [EventState.FINISHED], EventState.DONE)
    _move(tx, fileid, [*_AT_WORK, EventState.FAILED], EventState.FATAL, used_up)
    _move(tx, fileid, _AT_WORK, EventState.CANCELLED)


def _move(
    tx: sa.Connection, fileid: int, old: Sequence[EventState], new: EventState, *conditions: sa.ColumnElement[bool]
) -> None:
    statement = sa.update(events).where(events.c.fileid == fileid, events.c.status.in_(old), *conditions)
    tx.execute(statement.values(status=new))


def _enter_to_merge(tx: sa.Connection, pandaid: int, fileid: int, counts: dict[int, dict[str, int]]) -> None:
    """Give a job the files of all ranges that are done, in place of those that stood for them, to be merged."""
    planned = sa.delete(job_files).where(job_files.c.pandaid == pandaid, job_files.c.type == "tmpl_output")
    for (datasetid,) in tx.execute(planned.returning(job_files.c.datasetid)):
        counts[datasetid]["n_files"] -= 1
    statement = sa.select(events).where(events.c.fileid == fileid, events.c.status == EventState.DONE)
    rows: list[dict[str, Any]] = []
    for event in tx.execute(statement.order_by(events.c.first_event)):
        for datasetid, made in (event.outputs or {}).items():
            counts[int(datasetid)]["n_files"] += 1
            counts[int(datasetid)]["size_bytes"] += made["size_bytes"]
            rows.append(
                {
                    "pandaid": pandaid,
                    "jeditaskid": event.jeditaskid,
                    "datasetid": int(datasetid),
                    "type": "tmpl_output",
                    "status": OutputFileState.PREPARED,
                    "first_event": event.first_event,
                    "n_events": event.last_event - event.first_event + 1,
                    **{name: made.get(name) for name in _MADE},
                }
            )
    if rows:
        tx.execute(sa.insert(job_files), rows)


def files_of(tx: sa.Connection, endings: Sequence[Ending]) -> dict[int, Any]:
    """The files that event service jobs own: {pandaid: row of files, with task_status}; other jobs are left out."""
    found: dict[int, Any] = {}
    for some in batches([ending.job.pandaid for ending in endings]):
        of_service = sa.select(jobs.c.pandaid).where(bulk.among(tx, jobs.c.pandaid, some), jobs.c.is_event_service)
        ids = list(tx.scalars(of_service))
        if not ids:
            continue
        statement = (
            sa.select(files, tasks.c.status.label("task_status"))
            .join(tasks, tasks.c.jeditaskid == files.c.jeditaskid)
            .join(job_files, sa.and_(job_files.c.fileid == files.c.fileid, job_files.c.pandaid == files.c.pandaid))
            .join(datasets, datasets.c.datasetid == files.c.datasetid)
            .where(job_files.c.pandaid.in_(ids), files.c.status == InputFileState.RUNNING, datasets.c.is_master)
        )
        found.update({row.pandaid: row for row in tx.execute(statement)})
    return found
