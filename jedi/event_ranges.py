"""Cutting the files of event service jobs into event ranges (manual ch. 7.1.3, Event)."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from ..core.errors import Fault, Invalid
from ..core.event_service import MAX_RANGES, spans
from ..plugins.contracts import InputFile
from ..sql import event_ranges, settings
from ..sql.engine import reading
from ..sql.event_ranges import NewRanges
from ..sql.jobs import JobRef
from .job_builder import Recipe


def check_files(engine: sa.Engine, recipe: Recipe, groups: Sequence[Sequence[InputFile]]) -> None:
    """Raise `Invalid` for files that cannot be cut, or into too many ranges: all faults at once."""
    per_range = recipe.events_per_range
    if per_range is None:
        return
    with reading(engine) as tx:
        most = settings.numbers(tx, recipe.task.vo)(MAX_RANGES)
    counted = [(file.lfn, _n_events(recipe, file)) for group in groups for file in group]
    faults = []
    unknown = [lfn for lfn, n_events in counted if n_events < 1]
    if unknown:
        what = f"the catalogue gives no events for {len(unknown)} files, such as {unknown[0]}"
        how = "give nEventsPerFile, or skipEmptyInput if they are empty"
        faults.append(Fault("task_parameters.nEventsPerWorker", what, how))
    lfn, n_events = max(counted, key=lambda one: one[1], default=("", 0))
    if n_events > most * per_range:
        what = f"{per_range} events in each make more than {most} ranges of {lfn}, which has {n_events} events"
        faults.append(Fault("task_parameters.nEventsPerWorker", what, f"give at least {-(-n_events // most)}"))
    if faults:
        raise Invalid("the inputs cannot be cut into event ranges", faults)


def enter(tx: sa.Connection, recipe: Recipe, made: Sequence[JobRef], groups: Sequence[Sequence[InputFile]]) -> None:
    """Give the jobs that were made of these files the ranges of them, in the transaction that entered the jobs."""
    per_range = recipe.events_per_range
    if per_range is None:
        return
    new = [
        NewRanges(
            pandaid=job.pandaid,
            jeditaskid=recipe.task.jeditaskid,
            datasetid=file.datasetid,
            fileid=file.fileid,
            max_attempt=recipe.task.max_attempt,
            spans=spans(_n_events(recipe, file), per_range),
        )
        for job, group in zip(made, groups, strict=True)
        for file in group
    ]
    event_ranges.give(tx, new)


def _n_events(recipe: Recipe, file: InputFile) -> int:
    return recipe.parameters.n_events_per_file or file.n_events or 0
