"""Libraries: what the build jobs of a task have made, one for each queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..core.states import JOBS, QUEUED, JobState
from .jobs import JobRef, refs
from .tables import job_files, jobs


@dataclass(frozen=True)
class Library:
    """How far a queue is with its library: `file` is the row of the finished one.

    `n_failed` builds ran and failed: those that were closed or cancelled say nothing about the sources.
    """

    file: Mapping[str, Any] | None = None
    building: bool = False
    n_failed: int = 0


def libraries(tx: sa.Connection, jeditaskid: int) -> dict[str, Library]:
    """The libraries of a task by queue; a queue without a build job is not there."""
    statement = (
        sa.select(jobs.c.queue, jobs.c.status.label("job_status"), *_FILE)
        .join(job_files, job_files.c.pandaid == jobs.c.pandaid)
        .where(jobs.c.jeditaskid == jeditaskid, jobs.c.kind == "build", job_files.c.type == "lib")
        .order_by(jobs.c.pandaid)
    )
    found: dict[str, Library] = {}
    for row in tx.execute(statement).mappings():
        known = found.get(row["queue"], Library())
        found[row["queue"]] = _with(known, row)
    return found


#: The columns that a job's input needs.
_FILE = tuple(
    job_files.c[name] for name in ("datasetid", "lfn", "scope", "guid", "size_bytes", "checksum", "url", "storage")
)


def _with(known: Library, row: sa.RowMapping) -> Library:
    status = JobState(row["job_status"])
    if status is JobState.FINISHED:
        file = {column.name: row[column.name] for column in _FILE}
        return Library(file, known.building, known.n_failed)
    if status not in JOBS.final:
        return Library(known.file, True, known.n_failed)
    return Library(known.file, known.building, known.n_failed + (status is JobState.FAILED))


def waiting(tx: sa.Connection, jeditaskid: int) -> list[JobRef]:
    """The build jobs of a task that no pilot has taken, held for this transaction."""
    return refs(tx, jobs.c.jeditaskid == jeditaskid, jobs.c.kind == "build", jobs.c.status.in_(QUEUED), lock=True)
