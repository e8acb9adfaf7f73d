"""Post Processor: ends tasks whose inputs are all accounted for, and breaks those that cannot work (ch. 7.1.2)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ...core.states import InputDatasetState, JobState, OutputDatasetState, TaskState
from ...plugins.contracts import Tally, TaskView, Verdict, from_row
from ...sql import accounting, builds, datasets, files, tasks
from ...sql.accounting import Ending
from ...sql.engine import reading
from ...sql.tasks import TaskRef
from ..task_agent import TaskAgent


class PostProcessor(TaskAgent):
    """Moves `prepared` tasks to done, finished or failed, and `tobroken` ones to broken.

    Libraries that are still to be built are not needed any more.
    """

    name = "post_processor"
    states = (TaskState.PREPARED, TaskState.TOBROKEN)

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        if held.status is TaskState.TOBROKEN:
            verdict = Verdict(TaskState.BROKEN, row.error_dialog or "the task cannot work")
        else:
            verdict = self._judge(held, row)
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            left = [Ending(job, JobState.CLOSED, "its task is over") for job in builds.waiting(tx, held.jeditaskid)]
            accounting.book(tx, left, actor=self.name, now=now)
            self._close_datasets(tx, held, now)
            tasks.move_task(tx, held, verdict.state, actor=self.name, why=verdict.why, now=now, ended_at=now)
        return None

    def _judge(self, held: TaskRef, row: sa.Row[object]) -> Verdict:
        with reading(self.context.engine) as tx:
            masters = [dataset for dataset in datasets.inputs(tx, held.jeditaskid) if dataset.is_master]
            n_partial = files.n_partial(tx, [dataset.datasetid for dataset in masters])
        tally = Tally(
            n_files=sum(dataset.n_files for dataset in masters),
            n_finished=sum(dataset.n_files_finished for dataset in masters),
            n_failed=sum(dataset.n_files_failed + dataset.n_files_missing for dataset in masters),
            n_partial=n_partial,
        )
        verdict: Verdict = self.context.plugins.first(
            "postprocessor",
            "post_process",
            row.vo,
            row.prod_source_label,
            task=from_row(TaskView, row),
            tally=tally,
        )
        return verdict

    def _close_datasets(self, tx: sa.Connection, held: TaskRef, now: datetime) -> None:
        for dataset in datasets.inputs(tx, held.jeditaskid):
            if dataset.status == InputDatasetState.READY and dataset.n_files_finished == dataset.n_files:
                datasets.move_dataset(tx, dataset.datasetid, dataset.status, InputDatasetState.DONE, now=now)
        unfinished = [state for state in OutputDatasetState if state is not OutputDatasetState.DONE]
        datasets.move_outputs(tx, held.jeditaskid, unfinished, OutputDatasetState.PREPARED, now=now)
        datasets.move_outputs(tx, held.jeditaskid, [OutputDatasetState.PREPARED], OutputDatasetState.DONE, now=now)
