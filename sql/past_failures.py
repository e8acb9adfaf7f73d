"""Failures of the past, live and archived, and how their inputs ended: retry rules are tried on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import InputFileState, JobState
from .jobs import batches
from .tables import datasets, files, job_files
from .views import all_jobs


@dataclass(frozen=True)
class Outcome:
    """What became of the main inputs of some failed jobs.

    `finished` and `failed` inputs, and those that are `open`, still to be processed or being so. `in_vain` counts the
    jobs that tried failed inputs again, `to_finish` those that did so with inputs which are finished now.
    """

    inputs: int = 0
    finished: int = 0
    failed: int = 0
    open: int = 0
    in_vain: int = 0
    to_finish: int = 0


def failures(tx: sa.Connection, *, since: datetime, limit: int) -> list[sa.Row[Any]]:
    """Jobs that failed since a moment, the newest first."""
    failed = (all_jobs.c.status == JobState.FAILED, all_jobs.c.modified_at >= since)
    return list(tx.execute(sa.select(all_jobs).where(*failed).order_by(all_jobs.c.pandaid.desc()).limit(limit)))


def outcome(tx: sa.Connection, pandaids: Sequence[int]) -> Outcome:
    """How the inputs of these jobs ended. An input that failed in several of them counts once."""
    first: dict[int, int] = {}
    for some in batches(pandaids):
        chosen = (
            sa.select(job_files.c.fileid, sa.func.min(job_files.c.pandaid).label("pandaid"))
            .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
            .where(job_files.c.pandaid.in_(some), job_files.c.fileid.is_not(None), datasets.c.is_master)
        )
        for row in tx.execute(chosen.group_by(job_files.c.fileid)):
            first[row.fileid] = min(row.pandaid, first.get(row.fileid, row.pandaid))
    states, later = _states(tx, list(first)), _later(tx, first)
    ended = {InputFileState.FINISHED: "finished", InputFileState.FAILED: "failed"}
    counts = {"finished": 0, "failed": 0, "open": 0, "in_vain": 0, "to_finish": 0}
    for fileid, status in states.items():
        word = ended.get(InputFileState(status), "open")
        counts[word] += 1
        if word != "open":
            counts["in_vain" if word == "failed" else "to_finish"] += later.get(fileid, 0)
    return Outcome(inputs=len(states), **counts)


def _states(tx: sa.Connection, fileids: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for some in batches(fileids):
        rows = tx.execute(sa.select(files.c.fileid, files.c.status).where(files.c.fileid.in_(some)))
        found.update({row.fileid: row.status for row in rows})
    return found


def _later(tx: sa.Connection, first: dict[int, int]) -> dict[int, int]:
    """How many jobs took each input after the first of its failures: {fileid: jobs}."""
    found: dict[int, int] = {}
    datasetids = sa.select(files.c.datasetid)
    for some in batches(list(first)):
        near = job_files.c.datasetid.in_(datasetids.where(files.c.fileid.in_(some)))
        taken = sa.select(job_files.c.fileid, job_files.c.pandaid).where(near, job_files.c.fileid.in_(some))
        for row in tx.execute(taken):
            if row.pandaid > first[row.fileid]:
                found[row.fileid] = found.get(row.fileid, 0) + 1
    return found
