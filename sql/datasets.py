"""Datasets of tasks: what they read and write, with counters that are kept by increments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ..core.errors import IllegalTransition, Stale
from ..core.states import (
    INPUT_DATASETS,
    JOBS,
    OUTPUT_DATASETS,
    InputDatasetState,
    InputFileState,
    OutputDatasetState,
    OutputFileState,
    TaskState,
)
from . import bulk
from .tables import INPUT_TYPES, datasets, files, job_files, jobs, tasks

#: Which counter of a dataset counts files in which states.
COUNTERS = {
    "n_files_used": (
        InputFileState.PICKED,
        InputFileState.RUNNING,
        InputFileState.FINISHED,
        InputFileState.FAILED,
        InputFileState.PARTIAL,
    ),
    "n_files_finished": (InputFileState.FINISHED,),
    "n_files_failed": (InputFileState.FAILED, InputFileState.PARTIAL),
    "n_files_missing": (InputFileState.MISSING, InputFileState.LOST, InputFileState.BROKEN),
}


def insert_datasets(tx: sa.Connection, rows: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Enter datasets of a task, as `defined`."""
    if rows:
        state = {"status": InputDatasetState.DEFINED, "created_at": now, "modified_at": now}
        tx.execute(sa.insert(datasets), [{**state, **row} for row in rows])


def of_task(
    tx: sa.Connection, jeditaskid: int, types: Iterable[str] | None = None, *, lock: bool = False
) -> list[sa.Row[Any]]:
    """The datasets of a task, the master first."""
    statement = sa.select(datasets).where(datasets.c.jeditaskid == jeditaskid)
    if types is not None:
        statement = statement.where(datasets.c.type.in_(list(types)))
    statement = statement.order_by(datasets.c.is_master.desc(), datasets.c.datasetid)
    return list(tx.execute(statement.with_for_update() if lock else statement))


def inputs(tx: sa.Connection, jeditaskid: int) -> list[sa.Row[Any]]:
    """The input datasets of a task, the master first."""
    return of_task(tx, jeditaskid, INPUT_TYPES)


def are_known(tx: sa.Connection, jeditaskid: int) -> bool:
    """Whether the inputs of a task were looked up; of one to which a parent still adds, whether they were once."""
    found = inputs(tx, jeditaskid)
    known = (InputDatasetState.READY, InputDatasetState.DONE)
    return bool(found) and all(one.status in known or one.next_lookup_at is not None for one in found)


def unused(tx: sa.Connection, jeditaskid: int) -> int:
    """How many inputs of a task were never given to a job, or came back from one."""
    return sum(
        dataset.n_files - dataset.n_files_used - dataset.n_files_missing
        for dataset in inputs(tx, jeditaskid)
        if dataset.is_master
    )


def move_dataset(
    tx: sa.Connection,
    datasetid: int,
    old: str,
    to: InputDatasetState | OutputDatasetState,
    *,
    now: datetime,
    **also: Any,
) -> None:
    """Take one step of a dataset's state machine; raises `IllegalTransition` and `Stale` as `move_task` does."""
    allowed = (
        INPUT_DATASETS.allows(InputDatasetState(old), to)
        if isinstance(to, InputDatasetState)
        else OUTPUT_DATASETS.allows(OutputDatasetState(old), to)
    )
    if not allowed:
        raise IllegalTransition(f"dataset {datasetid} may not go from {old} to {to}")
    statement = sa.update(datasets).where(datasets.c.datasetid == datasetid, datasets.c.status == old)
    if tx.execute(statement.values(status=to, modified_at=now, **also)).rowcount != 1:
        raise Stale(f"dataset {datasetid} is no longer {old}")


def move_outputs(
    tx: sa.Connection, jeditaskid: int, sources: Iterable[OutputDatasetState], to: OutputDatasetState, *, now: datetime
) -> int:
    """Move all output datasets of a task that are in one of `sources`; returns how many moved."""
    steps = [state for state in sources if OUTPUT_DATASETS.allows(state, to)]
    statement = sa.update(datasets).where(
        datasets.c.jeditaskid == jeditaskid, datasets.c.type.not_in(INPUT_TYPES), datasets.c.status.in_(steps)
    )
    return tx.execute(statement.values(status=to, modified_at=now)).rowcount


def tasks_to_close(
    tx: sa.Connection,
    statuses: Iterable[TaskState],
    open_states: Iterable[OutputDatasetState],
    *,
    after: int,
    limit: int,
) -> list[int]:
    """Tasks in the given states that have no job left, but outputs in one of `open_states`; by id."""
    statement = (
        sa.select(datasets.c.jeditaskid)
        .distinct()
        .join(tasks, tasks.c.jeditaskid == datasets.c.jeditaskid)
        .where(
            datasets.c.jeditaskid > after,
            datasets.c.type.not_in(INPUT_TYPES),
            datasets.c.status.in_(list(open_states)),
            tasks.c.status.in_(list(statuses)),
            ~sa.exists().where(jobs.c.jeditaskid == datasets.c.jeditaskid, jobs.c.status.not_in(list(JOBS.final))),
        )
        .order_by(datasets.c.jeditaskid)
        .limit(limit)
    )
    return list(tx.scalars(statement))


def update_dataset(tx: sa.Connection, datasetid: int, **values: Any) -> None:
    """Set columns of a dataset other than its state."""
    tx.execute(sa.update(datasets).where(datasets.c.datasetid == datasetid).values(values))


def add_counts(tx: sa.Connection, changes: Mapping[int, Mapping[str, int]], *, now: datetime) -> None:
    """Add to the counters of datasets: {datasetid: {counter: difference}}.

    They are held in the order of their ids first, so that two writers never wait for each other in a circle.
    """
    changed = {datasetid: by for datasetid, by in sorted(changes.items()) if any(by.values())}
    if not changed:
        return
    names = tuple(sorted({name for by in changed.values() for name in by}))
    rows = [
        {"datasetid": datasetid, "modified_at": now, **{name: by.get(name, 0) for name in names}}
        for datasetid, by in changed.items()
    ]
    if tx.dialect.name == "postgresql":
        if len(rows) > 1:
            mine = bulk.among(tx, datasets.c.datasetid, list(changed))
            tx.execute(sa.select(datasets.c.datasetid).where(mine).order_by(datasets.c.datasetid).with_for_update())
        tx.execute(_add_to_all(names), bulk.as_lists(rows))
    else:
        tx.execute(_add_to_each(names), [{f"the_{name}": value for name, value in row.items()} for row in rows])


@lru_cache
def _add_to_all(names: tuple[str, ...]) -> sa.Update:
    return _adding(names, bulk.given([datasets.c[name] for name in ("datasetid", "modified_at", *names)]).c)


@lru_cache
def _add_to_each(names: tuple[str, ...]) -> sa.Update:
    return _adding(names, {name: sa.bindparam(f"the_{name}") for name in ("datasetid", "modified_at", *names)})


def _adding(names: Iterable[str], given: Mapping[str, Any]) -> sa.Update:
    more = {name: datasets.c[name] + given[name] for name in names}
    return (
        sa.update(datasets)
        .where(datasets.c.datasetid == given["datasetid"])
        .values(modified_at=given["modified_at"], **more)
        .prefix_with("/* datasets.add_counts */")
    )


def recount(tx: sa.Connection, jeditaskid: int) -> dict[int, dict[str, tuple[int, int]]]:
    """Counters that differ from a recount of the rows: {datasetid: {counter: (kept, counted)}}; empty: all agree."""
    wrong: dict[int, dict[str, tuple[int, int]]] = {}
    for dataset in of_task(tx, jeditaskid):
        counted = (
            _count_inputs(tx, dataset.datasetid)
            if dataset.type in INPUT_TYPES
            else _count_outputs(tx, dataset.datasetid)
        )
        differing = {name: (getattr(dataset, name), n) for name, n in counted.items() if getattr(dataset, name) != n}
        if differing:
            wrong[dataset.datasetid] = differing
    return wrong


def _count_inputs(tx: sa.Connection, datasetid: int) -> dict[str, int]:
    statement = (
        sa.select(files.c.status, sa.func.count()).where(files.c.datasetid == datasetid).group_by(files.c.status)
    )
    by_status: dict[str, int] = dict(tx.execute(statement).all())
    counted = {name: sum(by_status.get(state, 0) for state in states) for name, states in COUNTERS.items()}
    return {"n_files": sum(by_status.values()), **counted}


def _count_outputs(tx: sa.Connection, datasetid: int) -> dict[str, int]:
    statement = (
        sa.select(job_files.c.status, sa.func.count())
        .where(job_files.c.datasetid == datasetid, job_files.c.type.not_in(INPUT_TYPES))
        .group_by(job_files.c.status)
    )
    by_status: dict[str, int] = dict(tx.execute(statement).all())
    return {
        "n_files": sum(by_status.values()),
        "n_files_finished": by_status.get(OutputFileState.FINISHED, 0),
        "n_files_failed": by_status.get(OutputFileState.FAILED, 0),
    }
