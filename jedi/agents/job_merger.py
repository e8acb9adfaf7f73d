"""Job Merger: merge jobs for run jobs whose outputs wait to be merged (manual ch. 7.1.3; panda-client.md 7.7)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from ...core.states import JobState, TaskState
from ...plugins.contracts import Choice, QueueView, from_row
from ...plugins.grid import Grid, Inputs, Work
from ...plugins.grid_reader import read_grid
from ...sql import builds, counts, decisions, generation, merging, queues, tasks
from ...sql.engine import reading
from ...sql.merging import ToMerge
from ...sql.tables import jobs as jobs_table
from ...sql.tables import tasks as tasks_table
from ...sql.tasks import TaskRef
from ..job_builder import Recipe
from ..recipes import recipe_of
from ..side_jobs import merge_job
from ..task_agent import RETRY_SECONDS, TaskAgent

#: What a merge job reads at most when the task does not say.
GB_PER_MERGE_JOB = 5
FILES_PER_MERGE_JOB = 200
#: How long what is to be merged waits for its queue (manual ch. 12.1).
MAY_LEAVE_AFTER = timedelta(hours=24)
#: States in which no more run jobs are made.
ENDING = (TaskState.FINISHING, TaskState.PASSED)
#: Run jobs of a queue that are grouped at a time.
PAGE = 5000


class JobMerger(TaskAgent):
    """Groups the intermediate files at each queue; a group that is not full waits while more is to come."""

    name = "job_merger"
    states = (TaskState.RUNNING, TaskState.THROTTLED, *ENDING)

    def conditions(self) -> Sequence[sa.ColumnElement[bool]]:
        waits = sa.and_(
            jobs_table.c.jeditaskid == tasks_table.c.jeditaskid,
            jobs_table.c.status == JobState.MERGING,
            jobs_table.c.merge_pandaid.is_(None),
        )
        return [sa.exists().where(waits), tasks_table.c.jobs_to_kill.is_(False)]

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        now = self.context.clock()
        with reading(self.context.engine) as tx:
            recipe = recipe_of(tx, row, self.context.settings)
            queued = counts.by_queue(tx)
            known = [from_row(QueueView, queue, jobs=queued.get(queue.queue, {})) for queue in queues.list_queues(tx)]
            libraries = builds.libraries(tx, held.jeditaskid) if recipe.parameters.build_spec else {}
            waits_since = merging.queues_waiting(tx, held.jeditaskid)
            grid = read_grid(tx, row, now=now, work=Work.MERGE, inputs=Inputs(are_anywhere=True))
        by_name = {queue.queue: queue for queue in known}
        ready = {queue: library.file for queue, library in libraries.items() if library.file is not None}
        places = self._places(held, recipe, known, grid, waits_since, ready)
        limit_bytes = int(row.split_rule.get("nGBPerMergeJob") or GB_PER_MERGE_JOB) << 30
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            alone = bool(recipe.events_per_range)  # a file's ranges are one merge job's, and wait for no other files
            complete = alone or not self._more_to_come(tx, held, row)
            groups: list[list[ToMerge]] = []
            for home in places:  # each by itself: what waits at one must not keep others from merging
                page = merging.waiting(tx, held.jeditaskid, home, limit=PAGE + 1)
                groups += _groups(page, limit_bytes, alone=alone, complete=complete)
                if sum(map(len, groups)) >= PAGE:
                    break
            if not groups:
                return self.soon(now) if len(places) == len(waits_since) else now + timedelta(seconds=RETRY_SECONDS)
            serial_nr = tasks.take_serials(tx, held.jeditaskid, len(groups))
            new = []
            for number, group in enumerate(groups):
                queue = by_name[places[group[0].queue]]
                new.append(merge_job(recipe, group, queue, serial_nr + number, ready.get(queue.queue)))
            why = "the outputs of its run jobs are to be merged"
            made = generation.insert_jobs(
                tx, held.jeditaskid, new, status=JobState.ACTIVATED, actor=self.name, why=why, now=now
            )
            for merge, group in zip(made, groups, strict=True):
                merging.assign(tx, [run_job.job.pandaid for run_job in group], merge.pandaid, now=now)
            counts.add(tx, new, status=JobState.ACTIVATED, work_queue_id=row.work_queue_id, now=now)
        return None

    def _places(
        self,
        held: TaskRef,
        recipe: Recipe,
        known: Sequence[QueueView],
        grid: Grid,
        waits_since: Mapping[str, datetime],
        libraries: Collection[str],
    ) -> dict[str, str]:
        """The queue that merges what lies at each queue: that one, if the broker takes it (manual ch. 12.1).

        What has waited there for a day may go to another: of a task with something to build, to one of `libraries`.
        "Skipped for 24 hours" is taken as: the first of the run jobs has waited for so long.
        """
        places = {}
        for home, since in waits_since.items():
            asked = replace(grid, preassigned=(home,), passed_over_since=since)
            task = recipe.task
            choice: Choice = self.context.plugins.first(
                "jobbroker", "choose_queue", task.vo, task.prod_source_label, task=task, queues=known, grid=asked
            )
            able = [queue for queue in choice.chosen if recipe.parameters.build_spec is None or queue in libraries]
            if home in choice.chosen:
                places[home] = home
            elif able and grid.now - since > MAY_LEAVE_AFTER:
                places[home] = able[0]
            else:
                self._note(held, home, choice)
        return places

    def _note(self, held: TaskRef, home: str, choice: Choice) -> None:
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            decisions.record(
                tx,
                actor=self.name,
                what=f"no merge jobs at {home}",
                why=choice.why(),
                now=now,
                jeditaskid=held.jeditaskid,
                queue=home,
            )

    def _more_to_come(self, tx: sa.Connection, held: TaskRef, row: sa.Row[object]) -> bool:
        """Whether run jobs are going on, or are still to be made."""
        if merging.more_to_come(tx, held.jeditaskid):
            return True
        return row.status not in ENDING and merging.inputs_left(tx, held.jeditaskid)


def _groups(page: Sequence[ToMerge], limit_bytes: int, *, alone: bool, complete: bool) -> list[list[ToMerge]]:
    """What waits at one queue, in groups; `complete` says whether more will come."""
    if alone:
        return [[run_job] for run_job in page]
    return list(grouped(page, limit_bytes=limit_bytes, complete=complete and len(page) <= PAGE))


def grouped(waiting: Sequence[ToMerge], *, limit_bytes: int, complete: bool) -> Iterator[list[ToMerge]]:
    """Groups of run jobs at one queue, up to the limits; one that is not full only when all are there."""
    group: list[ToMerge] = []
    size_bytes = 0
    for run_job in waiting:
        if group and (size_bytes + run_job.size_bytes > limit_bytes or len(group) == FILES_PER_MERGE_JOB):
            yield group
            group, size_bytes = [], 0
        group.append(run_job)
        size_bytes += run_job.size_bytes
    if group and complete:
        yield group
