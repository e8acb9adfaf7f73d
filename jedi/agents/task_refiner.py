"""Task Refiner: makes tasks and datasets of submitted parameters (manual ch. 7.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from ...core.states import INPUT_DATASETS, InputDatasetState, TaskState
from ...plugins.contracts import DatasetPlan
from ...sql import datasets, tasks
from ...sql.engine import reading
from ...sql.tables import INPUT_TYPES
from ...sql.tasks import TaskRef
from ..refining import refine, tagged
from ..task_agent import TaskAgent


class TaskRefiner(TaskAgent):
    """Parses the parameters of new tasks, and again of those that are executed incrementally."""

    name = "task_refiner"
    states = (TaskState.REGISTERED, TaskState.REREFINE)

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        with reading(self.context.engine) as tx:
            parameters = tasks.get_parameters(tx, held.jeditaskid)
        refined = refine(self.context, row, parameters)
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            tasks.update_task(tx, held.jeditaskid, **tagged(tx, row, refined.columns))
            _enter_datasets(tx, held.jeditaskid, refined.datasets, now)
            why = f"parameters parsed: {len(refined.datasets)} datasets"
            tasks.move_task(tx, held, TaskState.DEFINED, actor=self.name, why=why, now=now, error_dialog=None)
        return None


def _enter_datasets(tx: sa.Connection, jeditaskid: int, plans: Sequence[DatasetPlan], now: datetime) -> None:
    """Enter the datasets that the task does not have, and have known inputs looked up again."""
    known = {(dataset.type, dataset.stream_name): dataset for dataset in datasets.of_task(tx, jeditaskid)}
    new = []
    for plan in plans:
        dataset = known.get((plan.type, plan.stream_name))
        if dataset is None:
            new.append({"jeditaskid": jeditaskid, **asdict(plan)})
            continue
        datasets.update_dataset(
            tx,
            dataset.datasetid,
            dataset_name=plan.dataset_name,
            selection=dict(plan.selection),
            content_cursor=None,
        )
        again = InputDatasetState.TOUPDATE
        if plan.type in INPUT_TYPES and INPUT_DATASETS.allows(InputDatasetState(dataset.status), again):
            datasets.move_dataset(tx, dataset.datasetid, dataset.status, again, now=now)
    datasets.insert_datasets(tx, new, now=now)
