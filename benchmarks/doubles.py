"""What may be there once only, counted: claims of an attempt, ends of a job, jobs of an input, files made."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bamboo.core.states import InputFileState, JobState
from bamboo.sql import tables as t
from bamboo.sql.engine import reading


def doubles(engine: sa.Engine) -> dict[str, int]:
    """How many things are there more often than once, by what they are; nothing of which there is none."""
    with reading(engine) as tx:
        found = {what: _n_repeated(tx, chosen) for what, chosen in _things().items()}
    return {what: n for what, n in found.items() if n}


def _things() -> dict[str, sa.Select[Any]]:
    """For each kind of thing, what names one; live jobs only."""
    events, files = t.job_events.c, t.job_files.c
    is_input, is_made = files.type == "input", files.type.not_in(t.INPUT_TYPES)
    of_job = t.job_files.join(t.jobs, t.jobs.c.pandaid == files.pandaid)
    has_fileid = files.fileid.is_not(None)
    return {
        "claims of an attempt": sa.select(events.pandaid, events.attempt_nr).where(events.new_status == JobState.SENT),
        "ends of a job": sa.select(events.pandaid).where(events.new_status == JobState.FINISHED),
        "jobs of an attempt of an input": sa.select(files.fileid, t.jobs.c.attempt_nr)
        .select_from(of_job)
        .where(is_input, has_fileid),
        "times that an input counts": sa.select(files.fileid).where(
            is_input, has_fileid, files.status == InputFileState.FINISHED
        ),
        "names of an output": sa.select(files.lfn).where(is_made),
        "registrations of an output": sa.select(t.catalogue_files.c.lfn).where(
            t.catalogue_files.c.pandaid.is_not(None)
        ),
    }


def _n_repeated(tx: sa.Connection, chosen: sa.Select[Any]) -> int:
    repeated = chosen.group_by(*chosen.selected_columns).having(sa.func.count() > 1).subquery()
    return int(tx.scalar(sa.select(sa.func.count()).select_from(repeated)) or 0)
