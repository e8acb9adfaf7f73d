"""Entering jobs in bulk: the jobs, their files and their first log lines, and the inputs that they take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import Stale
from ..core.states import InputFileState, JobState, OutputFileState
from . import bulk
from . import datasets as datasets_sql
from .jobs import JobRef, log_created
from .tables import files, job_files, job_params, jobs


@dataclass(frozen=True)
class NewJob:
    """A job to be entered. `inputs` and `outputs` are rows of `job_files` without ids and states."""

    columns: Mapping[str, Any]
    parameters: str
    inputs: Sequence[Mapping[str, Any]] = field(default=())
    outputs: Sequence[Mapping[str, Any]] = field(default=())


def insert_jobs(
    tx: sa.Connection, jeditaskid: int, new: Sequence[NewJob], *, status: JobState, actor: str, why: str, now: datetime
) -> list[JobRef]:
    """Enter jobs and give them their input files, all or none.

    An input's job gets the attempt number that follows the file's last one, so that attempts of one input only grow.
    Raises `Stale` when one of the inputs is no longer ready.
    """
    if not new:
        return []
    stamps = {
        "jeditaskid": jeditaskid,
        "status": status,
        "created_at": now,
        "modified_at": now,
        "state_changed_at": now,
    }
    ids = bulk.take_ids(tx, jobs.c.pandaid, len(new))
    bulk.insert(
        tx, jobs, [{"pandaid": pandaid, **stamps, **job.columns} for pandaid, job in zip(ids, new, strict=True)]
    )
    bulk.insert(
        tx,
        job_params,
        [{"pandaid": pandaid, "job_parameters": job.parameters} for pandaid, job in zip(ids, new, strict=True)],
    )
    _give_inputs(tx, ids, new)
    rows = [
        {"pandaid": pandaid, "jeditaskid": jeditaskid, **_FILE_DEFAULTS, "status": state, **row}
        for pandaid, job in zip(ids, new, strict=True)
        for state, part in ((InputFileState.RUNNING, job.inputs), (OutputFileState.RUNNING, job.outputs))
        for row in part
    ]
    bulk.insert(tx, job_files, rows)
    datasets_sql.add_counts(tx, _counts(new), now=now)
    created = [JobRef(pandaid, job.columns["attempt_nr"], status) for pandaid, job in zip(ids, new, strict=True)]
    log_created(tx, created, actor=actor, why=why, now=now)
    return created


#: One INSERT for all rows needs all of them to name the same columns.
_FILE_DEFAULTS: dict[str, Any] = {
    "fileid": None,
    "scope": None,
    "guid": None,
    "size_bytes": None,
    "checksum": None,
    "url": None,
    "storage": None,
    "n_events": 0,
    "first_event": 0,
    "may_be_missing": False,
}


def _give_inputs(tx: sa.Connection, ids: Sequence[int], new: Sequence[NewJob]) -> None:
    gifts = [
        {"fileid": row["fileid"], "pandaid": pandaid, "attempt_nr": job.columns["attempt_nr"]}
        for pandaid, job in zip(ids, new, strict=True)
        for row in job.inputs
        if row.get("fileid") is not None  # libraries and files to merge belong to no job
    ]
    if not gifts:
        return
    if tx.dialect.name == "postgresql":
        n_given = tx.execute(_GIVE_ALL, bulk.as_lists(gifts)).rowcount
    else:
        n_given = tx.execute(_GIVE_EACH, [{f"the_{name}": gift[name] for name in gift} for gift in gifts]).rowcount
    if n_given != len(gifts):
        raise Stale("some inputs were taken by somebody else")


def _giving(fileid: Any, pandaid: Any, attempt_nr: Any) -> Any:
    return (
        sa.update(files)
        .where(files.c.fileid == fileid, files.c.status == InputFileState.READY)
        .values(status=InputFileState.RUNNING, pandaid=pandaid, attempt_nr=attempt_nr)
        .prefix_with("/* generation.give_inputs */")
    )


_GIFT = ("fileid", "pandaid", "attempt_nr")
_GIFTS = bulk.given([files.c[name] for name in _GIFT])
_GIVE_ALL = _giving(*(_GIFTS.c[name] for name in _GIFT))
_GIVE_EACH = _giving(*(sa.bindparam(f"the_{name}") for name in _GIFT))


def _counts(new: Sequence[NewJob]) -> dict[int, dict[str, int]]:
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for job in new:
        for row in job.inputs:
            if row.get("fileid") is not None:
                counts[row["datasetid"]]["n_files_used"] += 1
        for row in job.outputs:
            counts[row["datasetid"]]["n_files"] += 1
    return counts
