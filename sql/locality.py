"""Where the inputs of active tasks are: what the Data Locality Updater has found (manual ch. 21.1.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import TaskState
from .jobs import batches
from .tables import dataset_locality, datasets, storages, tasks

#: States of tasks that still read, or will.
ACTIVE = (
    TaskState.DEFINED,
    TaskState.ASSIGNING,
    TaskState.READY,
    TaskState.PENDING,
    TaskState.SCOUTING,
    TaskState.SCOUTED,
    TaskState.RUNNING,
    TaskState.THROTTLED,
    TaskState.PAUSED,
    TaskState.EXHAUSTED,
)


def in_scope(vos: Collection[str], labels: Collection[str]) -> list[sa.ColumnElement[bool]]:
    """The conditions that a task is of one of the organisations and activities; none given: of any."""
    wanted = ((tasks.c.vo, vos), (tasks.c.prod_source_label, labels))
    return [column.in_(sorted(words)) for column, words in wanted if words]


def inputs_to_locate(
    tx: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], *, after: int, limit: int
) -> list[sa.Row[Any]]:
    """Input datasets of active tasks with the task's vo and prod_source_label, by id from the one after `after` on."""
    statement = (
        sa.select(datasets, tasks.c.vo, tasks.c.prod_source_label)
        .join(tasks, tasks.c.jeditaskid == datasets.c.jeditaskid)
        .where(datasets.c.type == "input", datasets.c.datasetid > after, tasks.c.status.in_(ACTIVE), *conditions)
        .order_by(datasets.c.datasetid)
        .limit(limit)
    )
    return list(tx.execute(statement))


def replace(tx: sa.Connection, dataset: sa.Row[Any], replicas: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Enter what storages have of a dataset (storage, n_files, size_bytes), instead of what was known before."""
    tx.execute(sa.delete(dataset_locality).where(dataset_locality.c.datasetid == dataset.datasetid))
    common = {"datasetid": dataset.datasetid, "jeditaskid": dataset.jeditaskid, "checked_at": now}
    if replicas:
        tx.execute(sa.insert(dataset_locality), [{**common, **replica} for replica in replicas])


def forget_finished(tx: sa.Connection) -> int:
    """Remove what is known for tasks that read nothing any more; returns how many rows."""
    active = sa.select(tasks.c.jeditaskid).where(tasks.c.status.in_(ACTIVE))
    return tx.execute(sa.delete(dataset_locality).where(dataset_locality.c.jeditaskid.not_in(active))).rowcount


def of_task(tx: sa.Connection, jeditaskid: int) -> list[sa.Row[Any]]:
    """What is known of a task's inputs, by dataset and storage."""
    statement = sa.select(dataset_locality).where(dataset_locality.c.jeditaskid == jeditaskid)
    return list(tx.execute(statement.order_by(dataset_locality.c.datasetid, dataset_locality.c.storage)))


def holders(tx: sa.Connection, jeditaskids: Sequence[int]) -> dict[int, frozenset[str]]:
    """Sites whose storages have files of every input dataset of a task: {jeditaskid: sites}.

    A dataset of which nothing is known is as good as nowhere, and so is one at a storage that we do not know.
    """
    by_dataset: dict[int, dict[int, set[str]]] = defaultdict(dict)
    for some in batches(jeditaskids):
        statement = (
            sa.select(datasets.c.jeditaskid, datasets.c.datasetid, storages.c.site)
            .outerjoin(
                dataset_locality,
                sa.and_(dataset_locality.c.datasetid == datasets.c.datasetid, dataset_locality.c.n_files > 0),
            )
            .outerjoin(storages, storages.c.storage == dataset_locality.c.storage)
            .where(datasets.c.jeditaskid.in_(some), datasets.c.type == "input")
        )
        for jeditaskid, datasetid, site in tx.execute(statement):
            by_dataset[jeditaskid].setdefault(datasetid, set()).update({site} if site else ())
    return {task: frozenset(set.intersection(*sets.values())) for task, sets in by_dataset.items()}
