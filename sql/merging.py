"""Merging: run jobs whose outputs wait to be merged, and what the end of a merge job means for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import JOBS, InputDatasetState, JobState, OutputFileState
from . import bulk
from .jobs import JobRef, batches, ref, refs
from .tables import datasets, job_files, jobs
from .views import all_jobs

#: After so many failed merge jobs, the run jobs behind them fail.
MAX_MERGE_ATTEMPTS = 3


@dataclass(frozen=True)
class ToMerge:
    """A run job that waits to be merged, with the rows of its intermediate files and its log."""

    job: JobRef
    queue: str
    files: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def size_bytes(self) -> int:
        return sum(file["size_bytes"] or 0 for file in self.files if file["type"] == "tmpl_output")


def queues_waiting(tx: sa.Connection, jeditaskid: int) -> dict[str, datetime]:
    """The queues where run jobs of a task wait for a merge job, and since when the first one does."""
    statement = (
        sa.select(jobs.c.queue, sa.func.min(jobs.c.state_changed_at).label("since"))
        .where(jobs.c.jeditaskid == jeditaskid, jobs.c.status == JobState.MERGING, jobs.c.merge_pandaid.is_(None))
        .group_by(jobs.c.queue)
        .order_by(jobs.c.queue)
    )
    return {row.queue: row.since for row in tx.execute(statement)}


def waiting(tx: sa.Connection, jeditaskid: int, queue: str, *, limit: int) -> list[ToMerge]:
    """Run jobs of a task at a queue that no merge job has yet, oldest first, held for this transaction."""
    statement = (
        sa.select(jobs.c.pandaid, jobs.c.attempt_nr, jobs.c.status, jobs.c.queue)
        .where(jobs.c.jeditaskid == jeditaskid, jobs.c.status == JobState.MERGING, jobs.c.merge_pandaid.is_(None))
        .where(jobs.c.queue == queue)
        .order_by(jobs.c.pandaid)
        .limit(limit)
        .with_for_update()
    )
    rows: Sequence[Any] = tx.execute(statement).all()
    files = _files_of(tx, [row.pandaid for row in rows])
    return [ToMerge(ref(row), row.queue, files[row.pandaid]) for row in rows]


def _files_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for some in batches(pandaids):
        statement = (
            sa.select(job_files, datasets.c.stream_name)
            .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
            .where(
                bulk.among(tx, job_files.c.pandaid, some),
                job_files.c.type.in_(["tmpl_output", "log"]),
                job_files.c.status.in_([OutputFileState.PREPARED, OutputFileState.FINISHED]),
            )
            .order_by(job_files.c.row_id)
        )
        for row in tx.execute(statement).mappings():
            found[row["pandaid"]].append(dict(row))
    return found


def without_merge_job(tx: sa.Connection, jeditaskid: int, *, limit: int) -> list[JobRef]:
    """Run jobs of a task that wait to be merged and that no merge job has, held for this transaction."""
    waits = (jobs.c.status == JobState.MERGING, jobs.c.merge_pandaid.is_(None))
    return refs(tx, jobs.c.jeditaskid == jeditaskid, *waits, limit=limit, lock=True)


def assign(tx: sa.Connection, run_jobs: Sequence[int], merge_job: int, *, now: datetime) -> None:
    """Give run jobs and their intermediate files to a merge job."""
    for some in batches(run_jobs):
        tx.execute(
            sa.update(jobs).where(bulk.among(tx, jobs.c.pandaid, some)).values(merge_pandaid=merge_job, modified_at=now)
        )
        _move_files(tx, some, OutputFileState.PREPARED, OutputFileState.MERGING)


def merged_by(tx: sa.Connection, merge_jobs: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    """The run jobs that merge jobs have, held for this transaction: {merge job: rows}."""
    found: dict[int, list[sa.Row[Any]]] = defaultdict(list)
    for some in batches(merge_jobs):
        statement = (
            sa.select(jobs)
            .where(bulk.among(tx, jobs.c.merge_pandaid, some), jobs.c.status == JobState.MERGING)
            .order_by(jobs.c.pandaid)
            .with_for_update()
        )
        for row in tx.execute(statement):
            found[row.merge_pandaid].append(row)
    return found


def left_alone(tx: sa.Connection, merge_jobs: Sequence[int]) -> set[int]:
    """Those merge jobs that read files of run jobs which are no longer theirs; the run jobs that are left are held.

    What such a job has made must not count: the inputs behind some of it were given to other jobs.
    """
    merged_by(tx, merge_jobs)
    intermediate = sa.and_(datasets.c.datasetid == job_files.c.datasetid, datasets.c.type == "tmpl_output")
    read: dict[int, int] = {}
    theirs: dict[int, int] = {}
    for some in batches(merge_jobs):
        given = (
            sa.select(job_files.c.pandaid, sa.func.count().label("n"))
            .join(datasets, intermediate)
            .where(bulk.among(tx, job_files.c.pandaid, some), job_files.c.type == "input")
            .group_by(job_files.c.pandaid)
        )
        kept = (
            sa.select(jobs.c.merge_pandaid.label("pandaid"), sa.func.count().label("n"))
            .join(job_files, job_files.c.pandaid == jobs.c.pandaid)
            .where(bulk.among(tx, jobs.c.merge_pandaid, some), jobs.c.status == JobState.MERGING)
            .where(job_files.c.type == "tmpl_output", job_files.c.status == OutputFileState.MERGING)
            .group_by(jobs.c.merge_pandaid)
        )
        read.update({row.pandaid: row.n for row in tx.execute(given)})
        theirs.update({row.pandaid: row.n for row in tx.execute(kept)})
    return {job for job, n in read.items() if theirs.get(job, 0) < n}


def take_back(tx: sa.Connection, run_jobs: Sequence[int], *, charged: bool, now: datetime) -> None:
    """Let other merge jobs have run jobs whose merge job is over; `charged` when merging was tried and failed."""
    for some in batches(run_jobs):
        tried = jobs.c.merge_attempts + (1 if charged else 0)
        attempts = {"merge_pandaid": None, "merge_attempts": tried, "modified_at": now}
        tx.execute(sa.update(jobs).where(bulk.among(tx, jobs.c.pandaid, some)).values(attempts))
        _move_files(tx, some, OutputFileState.MERGING, OutputFileState.PREPARED)


def discardable(tx: sa.Connection, *, before: datetime, after: int, limit: int) -> list[sa.Row[Any]]:
    """Intermediate files that nobody needs: their run job is over, merged or not, archived or not, since a moment.

    Rows of `job_files` by id from the one after `after` on, with dataset_name, vo and prod_source_label. A file that
    was removed has no `url` any more.
    """
    statement = (
        sa.select(job_files, datasets.c.dataset_name, all_jobs.c.vo, all_jobs.c.prod_source_label)
        .join(all_jobs, all_jobs.c.pandaid == job_files.c.pandaid)
        .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
        .where(
            job_files.c.type == "tmpl_output",
            job_files.c.url.is_not(None),
            job_files.c.row_id > after,
            all_jobs.c.status.in_(list(JOBS.final)),
            all_jobs.c.state_changed_at < before,
        )
        .order_by(job_files.c.row_id)
        .limit(limit)
    )
    return list(tx.execute(statement))


def discarded(tx: sa.Connection, row_ids: Sequence[int]) -> int:
    """Note that intermediate files are removed; returns of how many that was not known."""
    return sum(
        tx.execute(
            sa.update(job_files)
            .where(bulk.among(tx, job_files.c.row_id, some), job_files.c.url.is_not(None))
            .values(url=None)
        ).rowcount
        for some in batches(row_ids)
    )


def more_to_come(tx: sa.Connection, jeditaskid: int) -> bool:
    """Whether run jobs may still add to what waits to be merged."""
    waiting_for = [state for state in JOBS.rows if state not in JOBS.final and state is not JobState.MERGING]
    going_on = sa.select(jobs.c.pandaid).where(
        jobs.c.jeditaskid == jeditaskid, jobs.c.to_be_merged, jobs.c.status.in_(waiting_for)
    )
    return tx.execute(going_on.limit(1)).first() is not None


def _move_files(tx: sa.Connection, pandaids: Sequence[int], old: OutputFileState, new: OutputFileState) -> None:
    statement = sa.update(job_files).where(
        job_files.c.pandaid.in_(pandaids), job_files.c.type == "tmpl_output", job_files.c.status == old
    )
    tx.execute(statement.values(status=new))


def inputs_left(tx: sa.Connection, jeditaskid: int) -> bool:
    """Whether the task has inputs of which no job was made yet, or may get more."""
    unused = datasets.c.n_files_used + datasets.c.n_files_missing < datasets.c.n_files
    left = sa.or_(unused, datasets.c.status == InputDatasetState.TOUPDATE)
    statement = sa.select(datasets.c.datasetid).where(datasets.c.jeditaskid == jeditaskid, datasets.c.is_master, left)
    return tx.execute(statement).first() is not None
