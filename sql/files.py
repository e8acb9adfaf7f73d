"""Files of input datasets: entering them, giving them to jobs, taking them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..core.states import INPUT_FILES, InputFileState
from . import bulk, event_ranges
from .engine import spelled_out
from .jobs import batches
from .retries import has_needs
from .tables import datasets, files, job_files, jobs, tasks


def insert_new(
    tx: sa.Connection, jeditaskid: int, datasetid: int, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Enter those files that the dataset does not have yet, as `ready`; returns the rows of these."""
    known = entered(tx, datasetid, [row["lfn"] for row in rows])
    common = {"jeditaskid": jeditaskid, "datasetid": datasetid, "status": InputFileState.READY}
    new = [{**common, **row} for row in rows if row["lfn"] not in known]
    bulk.insert(tx, files, new)
    return new


def entered(tx: sa.Connection, datasetid: int, lfns: Sequence[str]) -> set[str]:
    """Those of the names that the dataset has already."""
    known: set[str] = set()
    for some in batches(lfns):
        known.update(
            tx.scalars(sa.select(files.c.lfn).where(files.c.datasetid == datasetid, bulk.among(tx, files.c.lfn, some)))
        )
    return known


def n_partial(tx: sa.Connection, datasetids: Sequence[int]) -> int:
    """How many files of datasets were processed in part."""
    of_them = files.c.datasetid.in_(list(datasetids)), files.c.status == InputFileState.PARTIAL
    return int(tx.execute(sa.select(sa.func.count()).select_from(files).where(*of_them)).scalar_one())


def ready(tx: sa.Connection, datasetid: int, *, limit: int, needsid: int | None = None) -> list[sa.Row[Any]]:
    """The next files of a dataset that may be given to a job, in the order in which they were entered.

    Those of the given needs only (`sql.retries.needs_in_turn`): as a rule, of none.
    """
    statement = (
        sa.select(files)
        .where(files.c.datasetid == datasetid, spelled_out(files.c.status, [InputFileState.READY]), has_needs(needsid))
        .order_by(files.c.fileid)
        .limit(limit)
    )
    return list(tx.execute(statement))


def usable(tx: sa.Connection, datasetid: int, *, offset: int, limit: int) -> list[sa.Row[Any]]:
    """Files of a secondary stream from a place in its order on, whether they were used before or not."""
    gone = (InputFileState.MISSING, InputFileState.LOST, InputFileState.BROKEN)
    statement = (
        sa.select(files)
        .where(files.c.datasetid == datasetid, files.c.status.not_in(gone))
        .order_by(files.c.fileid)
        .offset(offset)
        .limit(limit)
    )
    return list(tx.execute(statement))


def processed_by(tx: sa.Connection, jeditaskids: Sequence[int], lfns: Sequence[str]) -> set[str]:
    """Those of the file names that are main inputs which one of the tasks has processed, or is processing."""
    used: set[str] = set()
    taken = (InputFileState.PICKED, InputFileState.RUNNING, InputFileState.FINISHED)
    for some in batches(lfns):
        statement = (
            sa.select(files.c.lfn)
            .join(datasets, datasets.c.datasetid == files.c.datasetid)
            .where(files.c.jeditaskid.in_(jeditaskids), bulk.among(tx, files.c.lfn, some), files.c.status.in_(taken))
            .where(datasets.c.is_master)
        )
        used.update(tx.scalars(statement))
    return used


def unfinished(tx: sa.Connection, datasetid: int) -> int:
    """How many files of a dataset are ready or in a job: what a task still has to do."""
    going = (InputFileState.READY, InputFileState.PICKED, InputFileState.RUNNING)
    statement = sa.select(sa.func.count()).where(files.c.datasetid == datasetid, files.c.status.in_(going))
    return int(tx.execute(statement).scalar_one())


def reset_failed(tx: sa.Connection, jeditaskid: int, *, keep_attempts: bool = False) -> dict[int, int]:
    """Make the failed files of a task ready again, with all attempts that it gives; returns {datasetid: how many}.

    Of files of which a part is processed, the rest is tried again.

    With `keep_attempts` only those that have attempts left, which then are not forgotten.
    """
    reset = _reset(tx, jeditaskid, InputFileState.FAILED, keep_attempts=keep_attempts)
    event_ranges.retry_fatal(tx, jeditaskid)
    for datasetid, n in _reset(tx, jeditaskid, InputFileState.PARTIAL, keep_attempts=keep_attempts).items():
        reset[datasetid] = reset.get(datasetid, 0) + n
    return reset


def add_attempts(tx: sa.Connection, jeditaskid: int, increase: int) -> None:
    """Let those files of a task that are not finished be tried more often."""
    unfinished = (InputFileState.READY, InputFileState.PICKED, InputFileState.RUNNING, InputFileState.FAILED)
    statement = sa.update(files).where(files.c.jeditaskid == jeditaskid, files.c.status.in_(unfinished))
    tx.execute(statement.values(max_attempt=files.c.max_attempt + increase))


def follow_attempts(tx: sa.Connection, pandaids: Sequence[int]) -> None:
    """Give the inputs of jobs the attempt numbers that these jobs have now: those of their next jobs are larger."""
    for some in batches(pandaids):
        mine = sa.select(job_files.c.fileid).where(
            bulk.among(tx, job_files.c.pandaid, some), job_files.c.fileid.is_not(None)
        )
        now = sa.select(jobs.c.attempt_nr).where(jobs.c.pandaid == files.c.pandaid).scalar_subquery()
        owned = (files.c.fileid.in_(mine), bulk.among(tx, files.c.pandaid, some))
        tx.execute(sa.update(files).where(*owned).values(attempt_nr=now))


def give_up_ready(tx: sa.Connection, jeditaskid: int) -> dict[int, int]:
    """Count the main inputs that no job will take any more as failed; returns {datasetid: how many}."""
    masters = sa.select(datasets.c.datasetid).where(datasets.c.jeditaskid == jeditaskid, datasets.c.is_master)
    ids = list(tx.scalars(masters.order_by(datasets.c.datasetid)))
    given_up: dict[int, int] = {}
    for datasetid in ids:
        statement = sa.update(files).where(files.c.datasetid == datasetid, files.c.status == InputFileState.READY)
        n = tx.execute(statement.values(status=InputFileState.FAILED)).rowcount
        if n:
            given_up[datasetid] = n
    return given_up


def _reset(tx: sa.Connection, jeditaskid: int, status: InputFileState, *, keep_attempts: bool) -> dict[int, int]:
    if not INPUT_FILES.allows(status, InputFileState.READY):
        raise ValueError(f"files do not go from {status} back to ready")
    statement = sa.update(files).where(files.c.jeditaskid == jeditaskid, files.c.status == status)
    if keep_attempts:
        statement = statement.where(files.c.failed_attempts < files.c.max_attempt)
    else:
        max_attempt = sa.select(tasks.c.max_attempt).where(tasks.c.jeditaskid == jeditaskid).scalar_subquery()
        statement = statement.values(failed_attempts=0, free_attempts=0, max_attempt=max_attempt)
    reset: dict[int, int] = {}
    for (datasetid,) in tx.execute(statement.values(status=InputFileState.READY).returning(files.c.datasetid)):
        reset[datasetid] = reset.get(datasetid, 0) + 1
    return reset
