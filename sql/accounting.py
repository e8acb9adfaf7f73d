"""Booking the end of jobs: outputs, inputs and counters, in the transaction that ends the attempt.

Whoever moves a job to its final state in a transaction books it in the same one; a second booking moves nothing
and therefore books nothing. A unique index on finished inputs holds the promise even against a bug here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..core.job_errors import NOT_MERGED
from ..core.states import LEASED, InputFileState, JobState, OutputFileState
from . import bulk, event_booking, merging, retries
from . import datasets as datasets_sql
from .jobs import JobRef, batches, move_jobs, ref
from .retries import Bookings, Retry
from .tables import INPUT_TYPES, datasets, files, job_files, job_reports, jobs


class MadeFile(NamedTuple):
    """An output that a job has made, as its report says and the adder has checked."""

    row_id: int
    type: str  # output, log, lib or tmpl_output
    pandaid: int
    datasetid: int
    dataset_name: str
    lfn: str
    scope: str | None
    guid: str
    size_bytes: int
    checksum: str  # "ad:<8 hex digits>"
    url: str
    storage: str | None

    @classmethod
    def of(cls, row: Any, *, guid: str, size_bytes: int, checksum: str, url: str, storage: str | None) -> MadeFile:
        """The file of a row of job_files, joined with its dataset's name, with what was found of it."""
        known = (row.row_id, row.type, row.pandaid, row.datasetid, row.dataset_name, row.lfn, row.scope)
        return cls(*known, guid, size_bytes, checksum, url, storage)


@dataclass(frozen=True)
class Ending:
    """How a job ends. `give_back` says of each input (by fileid) whether it may be tried again, and why not."""

    job: JobRef
    to: JobState
    why: str
    made: Sequence[MadeFile] = ()
    give_back: Mapping[int, bool] = field(default_factory=dict)  # missing: give back
    charged: bool = False  # whether the failure counts against the attempts of the inputs, unless `retry` lets it be
    errors: Mapping[str, Any] = field(default_factory=dict)  # error columns of the job to set
    retry: Retry | None = None  # what retry rules decided about its inputs


def job_files_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    """The files of jobs, inputs with the attempts left to them: {pandaid: rows}."""
    found: dict[int, list[sa.Row[Any]]] = {pandaid: [] for pandaid in pandaids}
    for some in batches(pandaids):
        statement = (
            sa.select(*_OF_FILES)
            .select_from(job_files)
            .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
            .outerjoin(files, files.c.fileid == job_files.c.fileid)
            .where(bulk.among(tx, job_files.c.pandaid, some))
            .order_by(job_files.c.row_id)
        )
        for row in tx.execute(statement).all():
            found[row.pandaid].append(row)
    return found


_OF_FILES = (
    *(
        job_files.c[name]
        for name in ("row_id", "pandaid", "datasetid", "fileid", "type", "lfn", "scope", "storage", "may_be_missing")
    ),
    datasets.c.dataset_name,
    datasets.c.is_master,
    files.c.failed_attempts,
    files.c.free_attempts,
    files.c.max_attempt,
)


def inputs_without_url() -> sa.ColumnElement[bool]:
    """The condition that a job has an input of which nobody knows where it is."""
    return sa.exists().where(
        job_files.c.pandaid == jobs.c.pandaid, job_files.c.type == "input", job_files.c.url.is_(None)
    )


def reports_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The output reports of jobs: {pandaid: {lfn: {guid, fsize, adler32, surl, endpoint}}}."""
    found: dict[int, dict[str, Any]] = {}
    for some in batches(pandaids):
        statement = sa.select(job_reports.c.pandaid, job_reports.c.output_report).where(
            bulk.among(tx, job_reports.c.pandaid, some)
        )
        found.update((pandaid, report or {}) for pandaid, report in tx.execute(statement).all())
    return found


def book(
    tx: sa.Connection, endings: Sequence[Ending], *, actor: str, now: datetime, request_id: str | None = None
) -> list[Ending]:
    """End jobs and book what follows; returns the endings that took effect, the others having been booked before.

    A finished job's inputs become `finished`. Any other job's inputs go back to `ready` or, where the ending says so,
    to `failed`; its outputs become `failed`, except those it made (a log, as a rule). A job that is to be merged keeps
    its inputs until its merge job ends, which is booked here too.
    """
    booked: list[Ending] = []
    owned = event_booking.files_of(tx, endings)
    endings = _off_the_machine(tx, event_booking.decide(tx, endings, owned), actor, now, request_id)
    for (_, to, why, errors), some in _alike(endings).items():
        moved = move_jobs(
            tx,
            [ending.job for ending in some],
            to,
            actor=actor,
            why=why,
            now=now,
            request_id=request_id,
            **dict(errors),
        )
        ids = {job.pandaid for job in moved}
        booked += [ending for ending in some if ending.job.pandaid in ids]
    if booked:
        bookings = Bookings(tx)
        bookings.record([(one.job.pandaid, one.retry) for one in booked if one.retry is not None], now=now)
        counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        partial = event_booking.settle(tx, booked, owned, counts)
        _book_outputs(tx, booked, counts)
        _book_inputs(tx, booked, counts, bookings, partial)
        datasets_sql.add_counts(tx, counts, now=now)
        booked += book(tx, _endings_of_merged(tx, booked, now), actor=actor, now=now, request_id=request_id)
    return booked


def _off_the_machine(
    tx: sa.Connection, endings: Sequence[Ending], actor: str, now: datetime, request_id: str | None
) -> list[Ending]:
    """Take jobs out of the hands of pilots that are gone where their event ranges are to be merged: no step leads
    straight there. Endings of jobs that somebody else has moved are left out."""
    lost = {e.job: e for e in endings if e.to is JobState.MERGING and e.job.status in LEASED}
    if not lost:
        return list(endings)
    why = "its pilot is gone, but event ranges are finished"
    moved = move_jobs(tx, list(lost), JobState.HOLDING, actor=actor, why=why, now=now, request_id=request_id)
    before = {job.pandaid: job for job in lost}
    others = [ending for ending in endings if ending.job not in lost]
    return [*others, *(replace(lost[before[job.pandaid]], job=job) for job in moved)]


def _endings_of_merged(tx: sa.Connection, booked: Sequence[Ending], now: datetime) -> list[Ending]:
    """What the end of merge jobs means for the run jobs behind them.

    They are finished with it, or wait for another merge job, or fail when merging has failed too often. A merge job
    that was closed or cancelled has not tried.
    """
    run_jobs = merging.merged_by(tx, [ending.job.pandaid for ending in booked])
    endings: list[Ending] = []
    for merge_job, rows in run_jobs.items():
        to = next(ending.to for ending in booked if ending.job.pandaid == merge_job)
        if to is JobState.FINISHED:
            endings += [Ending(ref(row), JobState.FINISHED, f"merged by job {merge_job}") for row in rows]
            continue
        tried = to is JobState.FAILED
        hopeless = [row for row in rows if tried and row.merge_attempts + 1 >= merging.MAX_MERGE_ATTEMPTS]
        others = [row.pandaid for row in rows if row not in hopeless]
        merging.take_back(tx, others, charged=tried, now=now)
        endings += _failed_merges(tx, hopeless, merge_job)
    return endings


def _failed_merges(tx: sa.Connection, rows: Sequence[Any], merge_job: int) -> list[Ending]:
    inputs = job_files_of(tx, [row.pandaid for row in rows])
    why = f"its outputs could not be merged, last by job {merge_job}"
    return [
        Ending(
            ref(row),
            JobState.FAILED,
            why,
            give_back={
                file.fileid: file.failed_attempts + 1 < file.max_attempt
                for file in inputs[row.pandaid]
                if file.fileid is not None
            },
            charged=True,
            errors=NOT_MERGED.columns(why),
        )
        for row in rows
    ]


def _alike(endings: Sequence[Ending]) -> dict[tuple[Any, ...], list[Ending]]:
    """Endings that one statement can carry out."""
    groups: dict[tuple[Any, ...], list[Ending]] = defaultdict(list)
    for ending in endings:
        groups[(ending.job.status, ending.to, ending.why, tuple(sorted(ending.errors.items())))].append(ending)
    return groups


def _book_outputs(tx: sa.Connection, booked: Sequence[Ending], counts: dict[int, dict[str, int]]) -> None:
    _enter_made(tx, booked, counts)
    for some in batches([ending.job.pandaid for ending in booked]):
        not_made = _outputs_in(tx, some, OutputFileState.RUNNING).values(status=OutputFileState.FAILED)
        for (datasetid,) in tx.execute(not_made.returning(job_files.c.datasetid)):
            counts[datasetid]["n_files_failed"] += 1
    for end, counter in ((OutputFileState.FINISHED, "n_files_finished"), (OutputFileState.FAILED, "n_files_failed")):
        merged = [
            ending.job.pandaid
            for ending in booked
            if ending.job.status is JobState.MERGING
            and (ending.to is JobState.FINISHED) == (end is OutputFileState.FINISHED)
        ]
        for some in batches(merged):
            ended = _outputs_in(tx, some, OutputFileState.PREPARED, OutputFileState.MERGING).values(status=end)
            for (datasetid,) in tx.execute(ended.returning(job_files.c.datasetid)):
                counts[datasetid][counter] += 1


def _outputs_in(tx: sa.Connection, pandaids: Sequence[int], *states: OutputFileState) -> sa.Update:
    """An update of the outputs of jobs that are in the given states."""
    return sa.update(job_files).where(
        bulk.among(tx, job_files.c.pandaid, pandaids),
        job_files.c.type.not_in(INPUT_TYPES),
        job_files.c.status.in_(states),
    )


def _enter_made(tx: sa.Connection, booked: Sequence[Ending], counts: dict[int, dict[str, int]]) -> None:
    """Enter what the made files are like. Files to be merged are only `prepared`, until the merge job is over."""
    rows: list[dict[str, Any]] = []
    for ending in booked:
        for file in ending.made:
            waits = ending.to is JobState.MERGING and file.type == "tmpl_output"
            if not waits:
                counts[file.datasetid]["n_files_finished"] += 1
            counts[file.datasetid]["size_bytes"] += file.size_bytes
            rows.append(
                {
                    "row_id": file.row_id,
                    "status": (OutputFileState.PREPARED if waits else OutputFileState.FINISHED).value,
                    "guid": file.guid,
                    "size_bytes": file.size_bytes,
                    "checksum": file.checksum,
                    "url": file.url,
                    "storage": file.storage,
                }
            )
    bulk.update(tx, job_files, "row_id", rows)


def _book_inputs(
    tx: sa.Connection,
    booked: Sequence[Ending],
    counts: dict[int, dict[str, int]],
    bookings: Bookings,
    partial: Collection[int],
) -> None:
    by_job = {ending.job.pandaid: ending for ending in booked if ending.to is not JobState.MERGING}
    ends: dict[tuple[InputFileState, str, Retry | None, int | None], list[int]] = defaultdict(list)
    for row in _inputs(tx, list(by_job)):
        ending = by_job[row.pandaid]
        end = _end_of_input(ending, row)
        if row.fileid in partial and end is not InputFileState.READY:
            end = InputFileState.PARTIAL
        retry = ending.retry if row.is_master else None
        ends[(end, _charge(ending, row), retry, bookings.needsid(retry, row.needsid))].append(row.fileid)
        if end is InputFileState.READY:
            counts[row.datasetid]["n_files_used"] -= 1
        else:
            counts[row.datasetid]["n_files_finished" if end is InputFileState.FINISHED else "n_files_failed"] += 1
    for (end, charge, retry, needsid), fileids in ends.items():
        for some in batches(fileids):
            values: dict[str, Any] = {"status": end, "pandaid": None, **retries.values_of(retry, needsid)}
            if charge:
                values[charge] = files.c[charge] + 1
            tx.execute(sa.update(files).where(bulk.among(tx, files.c.fileid, some)).values(values))
    for end in (InputFileState.FINISHED, InputFileState.FAILED):
        ended = [
            pandaid
            for pandaid, ending in by_job.items()
            if (ending.to is JobState.FINISHED) == (end is InputFileState.FINISHED)
        ]
        for some in batches(ended):
            tx.execute(
                sa.update(job_files)
                .where(bulk.among(tx, job_files.c.pandaid, some), job_files.c.type.in_(INPUT_TYPES))
                .values(status=end)
            )
    cut = sa.update(job_files).where(job_files.c.type.in_(INPUT_TYPES), job_files.c.status == InputFileState.FINISHED)
    for some in batches(sorted(partial)):
        mine = bulk.among(tx, job_files.c.fileid, some), bulk.among(tx, job_files.c.pandaid, list(by_job))
        tx.execute(cut.where(*mine).values(status=InputFileState.PARTIAL))


def _charge(ending: Ending, row: Any) -> str:
    """The column of `files` that counts this attempt of a main input; empty if none does."""
    if not (ending.charged and row.is_master):
        return ""
    return "free_attempts" if ending.retry is not None and ending.retry.is_free(row) else "failed_attempts"


def _inputs(tx: sa.Connection, pandaids: Sequence[int]) -> Iterable[Any]:
    """The inputs that these jobs own, which are exactly those that their end may change."""
    for some in batches(pandaids):
        found = tx.execute(
            sa.select(
                files.c.fileid,
                files.c.datasetid,
                files.c.pandaid,
                files.c.needsid,
                files.c.free_attempts,
                datasets.c.is_master,
            )
            .join(job_files, sa.and_(job_files.c.fileid == files.c.fileid, job_files.c.pandaid == files.c.pandaid))
            .join(datasets, datasets.c.datasetid == files.c.datasetid)
            .where(bulk.among(tx, job_files.c.pandaid, some), files.c.status == InputFileState.RUNNING)
            .order_by(files.c.fileid)
        )
        yield from found.all()


def _end_of_input(ending: Ending, file: Any) -> InputFileState:
    """What becomes of an input. A file of a secondary stream is never given up: it is not what was processed."""
    if ending.to is JobState.FINISHED:
        return InputFileState.FINISHED
    may_try_again = ending.give_back.get(file.fileid, True) or not file.is_master
    return InputFileState.READY if may_try_again else InputFileState.FAILED
