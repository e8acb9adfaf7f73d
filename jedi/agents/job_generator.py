"""Job Generator: throttler, broker, splitter, setupper and submission, in bulk (manual ch. 7.1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.errors import Fault, Invalid, PluginFailed, Retriable
from ...core.states import InputDatasetState, JobState, OutputDatasetState, TaskState
from ...plugins.contracts import Choice, DatasetView, InputFile, QueueView, TaskView, Throttle, from_row
from ...plugins.questions import read_question
from ...plugins.scouting import portion
from ...sql import builds, counts, datasets, decisions, files, generation, scouts, tasks
from ...sql.builds import Library
from ...sql.engine import reading
from ...sql.tables import datasets as datasets_table
from ...sql.tables import tasks as tasks_table
from ...sql.tasks import TaskRef
from .. import event_ranges
from ..context import Context
from ..job_builder import Recipe
from ..partitions import Turns
from ..recipes import recipe_of
from ..side_jobs import build_job
from ..spreading import LEAST_JOBS, portions
from ..streams import hand_out
from ..task_agent import RETRY_SECONDS, Round, TaskAgent
from ..verdicts import Verdicts

#: Files that are read at a time, at the most: memory stays flat for any task.
MAX_FILES = 20_000
#: Queues over which the jobs of one round are spread (manual ch. 12.1: the best ten).
MAX_QUEUES = 10
_USED_UP = "its secondary stream {} is used up: add files and reload the input, or finish the task"
#: How long a throttled task is left alone.
THROTTLE_SECONDS = 60.0


@dataclass
class Plan:
    """What one task may be given in one round. `libraries` are those of the queues where one is ready.

    A round is for inputs of the same needs (`needsid`, see `sql.retries`), to which the task is raised.
    """

    task: TaskView
    recipe: Recipe
    queues: list[QueueView]
    weights: Mapping[str, float]
    left: int
    n_inputs: int  #: that are not in a job yet
    libraries: Mapping[str, Library]
    needsid: int | None
    #: Scouts that it begins with, and how many of them are still to be made; None when it does not scout (any more).
    n_scouts: int
    scouts_left: int | None

    @property
    def target(self) -> TaskState:
        """The state of the task once the jobs are made."""
        return TaskState.RUNNING if self.scouts_left is None else TaskState.SCOUTING

    @property
    def cut_as(self) -> TaskView:
        """The task as the splitter is to see it."""
        return self.task if self.scouts_left is None else portion(self.task)


class JobGenerator(TaskAgent):
    """Makes jobs of ready inputs until none are left or the throttler says stop.

    A task that has something to build gets a build job at each queue first, and run jobs where the library is ready.
    With global shares each round is for the tasks of one partition, which no other agent has then (manual ch. 14.3).
    """

    name = "job_generator"
    states = (TaskState.READY, TaskState.SCOUTING, TaskState.SCOUTED, TaskState.RUNNING, TaskState.THROTTLED)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._turns = Turns(context, self.owner)
        self._verdicts = Verdicts(context)
        self._of_partition: Sequence[sa.ColumnElement[bool]] = ()

    def run_once(self) -> Round:
        with self._turns.next(self._statuses, self._conditions()) as of_partition:
            if of_partition is None:
                return Round()
            self._of_partition = of_partition
            try:
                report = super().run_once()
            finally:
                self._of_partition = ()
        self._verdicts.enter()
        return report

    def conditions(self) -> Sequence[sa.ColumnElement[bool]]:
        return [*self._unused_inputs(), *self._of_partition]

    def _unused_inputs(self) -> Sequence[sa.ColumnElement[bool]]:
        unused = datasets_table.c.n_files_used + datasets_table.c.n_files_missing < datasets_table.c.n_files
        master = sa.and_(datasets_table.c.jeditaskid == tasks_table.c.jeditaskid, datasets_table.c.is_master, unused)
        return [sa.exists().where(master), sa.not_(scouts.wants_no_more()), sa.not_(scouts.evaluation_is_due())]

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        plan, throttle, choice = self._plan(held, row)
        now = self.context.clock()
        throttle, why = self._turns.throttle(throttle)
        plan.left = throttle.max_new_jobs
        if throttle.max_new_jobs <= 0:
            until = now + timedelta(seconds=THROTTLE_SECONDS)
            return self._hold_back(held, TaskState.THROTTLED, "throttled", {"throttle": throttle.why, **why}, until)
        if not plan.queues:
            until = now + timedelta(seconds=choice.retry_seconds or RETRY_SECONDS)
            return self._hold_back(held, TaskState.PENDING, tasks.NO_QUEUE, choice.why(), until)
        if plan.scouts_left is not None:
            plan.left = min(plan.left, plan.scouts_left)
            if plan.left <= 0 and held.status is not TaskState.SCOUTING:
                self._go_on_scouting(held, plan)
                return None
        if plan.recipe.parameters.build_spec is not None:
            if all(self._gave_up(plan, queue) for queue in plan.queues):
                return self._wait_for_libraries(held, plan, choice)
            held = self._build(held, plan)
            if not plan.queues:
                return self.soon(now)
        made = 0
        while plan.left > 0:
            for queue, n_jobs in self._portions(plan):
                held, submitted = self._submit_page(held, plan, queue, min(n_jobs, plan.left), choice)
                if not submitted:
                    return None if made else self.soon(now)
                made += submitted
                plan.left -= submitted
                self._turns.note(submitted)
                if plan.left <= 0:
                    break
        return None

    def _portions(self, plan: Plan) -> list[tuple[QueueView, int]]:
        """The queues whose turn it is, and how many jobs each gets."""
        n_jobs = max(1, min(plan.left, -(-plan.n_inputs // (_files_per_job(plan.cut_as) or 1))))
        weights = {queue.queue: plan.weights.get(queue.queue) or 1.0 for queue in plan.queues}
        least, most = self.context.numbers(plan.task.vo)(LEAST_JOBS), self.context.settings.jobgen.jobs_per_transaction
        given = portions(n_jobs, weights, least=min(least, most), most=most)
        return [(queue, given[queue.queue]) for queue in plan.queues if queue.queue in given]

    def _plan(self, held: TaskRef, row: sa.Row[Any]) -> tuple[Plan, Throttle, Choice]:
        with reading(self.context.engine) as tx:
            question = read_question(tx, row, now=self.context.clock())
            recipe = recipe_of(tx, row, self.context.settings)
            libraries = builds.libraries(tx, held.jeditaskid) if recipe.parameters.build_spec else {}
        question, choice = question.settled(self.context.plugins)
        self._verdicts.add(choice, held.jeditaskid)
        throttle = question.throttle(self.context.plugins)
        by_name = {queue.queue: queue for queue in question.queues}
        unknown = [name for name in choice.chosen if name not in by_name]
        if unknown:
            raise PluginFailed(f"the job broker chose queues that there are not, such as {unknown[0]}")
        best = [by_name[name] for name in choice.chosen[:MAX_QUEUES]]
        n_scouts, left = question.scouting.n_scouts, question.scouting.left
        task, recipe = question.task, replace(recipe, task=question.task)
        n_inputs = recipe.master.n_files - recipe.master.n_files_used - recipe.master.n_files_missing
        plan = Plan(
            task,
            recipe,
            best,
            choice.weights,
            throttle.max_new_jobs,
            n_inputs,
            libraries,
            question.needsid,
            n_scouts,
            left,
        )
        return plan, throttle, choice

    def _go_on_scouting(self, held: TaskRef, plan: Plan) -> None:
        """Take a task back to its scouts that has all of them, after it was held up."""
        with self.context.engine.begin() as tx:
            row = tasks.hold(tx, held)
            self._start(tx, held, plan, row)

    def _build(self, held: TaskRef, plan: Plan) -> TaskRef:
        """See to it that every chosen queue has a library or is making one, and keep the queues where it is ready."""
        missing = [queue for queue in plan.queues if not self._has_library(plan, queue)]
        tried = [queue for queue in missing if not self._gave_up(plan, queue)]
        to_build = [queue for queue in tried if not plan.libraries.get(queue.queue, Library()).building]
        if to_build:
            held = self._submit_builds(held, plan, to_build)
        plan.queues = [queue for queue in plan.queues if self._has_library(plan, queue)]
        return held

    def _wait_for_libraries(self, held: TaskRef, plan: Plan, choice: Choice) -> datetime:
        """Hold the task back when the build has failed too often at all chosen queues, but not at others.

        Raises `Invalid` when there are no others: another try would end alike.
        """
        names = [queue.queue for queue in plan.queues]
        failed = f"the build failed {plan.task.max_attempt} times"
        others = [name for name, library in plan.libraries.items() if library.file is not None or library.building]
        if not others:
            fault = Fault(", ".join(names), failed, "see the logs of the build jobs")
            raise Invalid("the task cannot be built", [fault])
        rejected = {**choice.rejected, failed: names}
        changes = {**choice.changes, failed: (names[0], f"let the task use {others[0]}, where it was built")}
        why = replace(choice, chosen=(), n_passed=None, rejected=rejected, changes=changes).why()
        until = self.context.clock() + timedelta(seconds=choice.retry_seconds or RETRY_SECONDS)
        return self._hold_back(held, TaskState.PENDING, "no queue fits", why, until)

    def _has_library(self, plan: Plan, queue: QueueView) -> bool:
        return plan.libraries.get(queue.queue, Library()).file is not None

    def _gave_up(self, plan: Plan, queue: QueueView) -> bool:
        library = plan.libraries.get(queue.queue, Library())
        return library.file is None and not library.building and library.n_failed >= plan.task.max_attempt

    def _submit_builds(self, held: TaskRef, plan: Plan, to_build: Sequence[QueueView]) -> TaskRef:
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            row = tasks.hold(tx, held)
            self._set_up(tx, held, plan, now)
            serial_nr = tasks.take_serials(tx, held.jeditaskid, len(to_build))
            new = [build_job(plan.recipe, queue, serial_nr + number) for number, queue in enumerate(to_build)]
            why = "the task's library is to be built"
            generation.insert_jobs(
                tx, held.jeditaskid, new, status=JobState.ACTIVATED, actor=self.name, why=why, now=now
            )
            if held.status is not plan.target:
                held = self._start(tx, held, plan, row)
            counts.add(tx, new, status=JobState.ACTIVATED, work_queue_id=row.work_queue_id, now=now)
            return held

    def _submit_page(
        self, held: TaskRef, plan: Plan, queue: QueueView, n_jobs: int, choice: Choice
    ) -> tuple[TaskRef, int]:
        """Make up to `n_jobs` jobs of the next ready inputs, in one transaction; returns how many."""
        now = self.context.clock()
        groups = self._split(plan, queue, n_jobs)
        if not groups:
            return held, 0
        event_ranges.check_files(self.context.engine, plan.recipe, groups)
        library = plan.libraries.get(queue.queue, Library()).file
        with self.context.engine.begin() as tx:
            row = tasks.hold(tx, held)
            tasks.extend(tx, held, until=self.lease_until(now))
            self._turns.keep(tx, now)
            self._set_up(tx, held, plan, now)
            shares, short_of = hand_out(tx, plan.recipe, groups, row.next_serial_nr)
            if not shares:
                raise Retriable(_USED_UP.format(short_of))
            serial_nr = tasks.take_serials(tx, held.jeditaskid, len(shares))
            is_scout = plan.scouts_left is not None
            new = [
                plan.recipe.run_job(group, queue, serial_nr + n, library, share, is_scout=is_scout)
                for n, (group, share) in enumerate(zip(groups, shares, strict=False))
            ]
            why = f"brokered to {queue.queue}; its inputs need no motion"
            made = generation.insert_jobs(
                tx, held.jeditaskid, new, status=JobState.ACTIVATED, actor=self.name, why=why, now=now
            )
            event_ranges.enter(tx, plan.recipe, made, groups[: len(made)])
            what = f"jobs for {queue.queue}"
            decisions.record(
                tx, actor=self.name, what=what, why=choice.why(), now=now, jeditaskid=held.jeditaskid, queue=queue.queue
            )
            if held.status is not plan.target:
                held = self._start(tx, held, plan, row)
            counts.add(tx, new, status=JobState.ACTIVATED, work_queue_id=row.work_queue_id, now=now)
        plan.n_inputs -= sum(len(group) for group in groups[: len(shares)])
        return held, len(shares)

    def _split(self, plan: Plan, queue: QueueView, n_jobs: int) -> list[Sequence[InputFile]]:
        rule = plan.cut_as.split_rule
        per_job = _files_per_job(plan.cut_as) or 1
        # where sizes decide, a part of a page would cut the files into smaller jobs
        a_page = min(self.context.settings.jobgen.jobs_per_transaction, plan.left)
        n_most = n_jobs if _files_per_job(plan.cut_as) else a_page
        limit = min(max(n_most * per_job, per_job), max(MAX_FILES, per_job))
        with reading(self.context.engine) as tx:
            rows = files.ready(tx, plan.recipe.master.datasetid, limit=limit, needsid=plan.needsid)
        if not rows:
            return []
        given = [from_row(InputFile, row) for row in rows]
        groups: Sequence[Sequence[InputFile]] = self.context.plugins.first(
            "jobsplitter",
            "split_inputs",
            plan.task.vo,
            plan.task.prod_source_label,
            task=plan.cut_as,
            files=given,
            queue=queue,
            complete=len(rows) < limit,
        )
        _check_split(groups, given)
        if plan.recipe.master.status == InputDatasetState.TOUPDATE and rule.get("nFilesPerJob"):
            groups = [group for group in groups if len(group) >= per_job]  # the parent makes what is missing
        return list(groups[:n_jobs])

    def _set_up(self, tx: sa.Connection, held: TaskRef, plan: Plan, now: datetime) -> None:
        """Have the output datasets prepared, before the first jobs."""
        fresh = [output for output in plan.recipe.all_outputs if output.status == OutputDatasetState.DEFINED]
        if not fresh:
            return
        self.context.plugins.first(
            "tasksetup",
            "setup_outputs",
            plan.task.vo,
            plan.task.prod_source_label,
            tx=tx,
            task=plan.task,
            datasets=[from_row(DatasetView, output) for output in fresh],
            now=now,
        )
        datasets.move_outputs(tx, held.jeditaskid, [OutputDatasetState.DEFINED], OutputDatasetState.READY, now=now)

    def _start(self, tx: sa.Connection, held: TaskRef, plan: Plan, row: sa.Row[Any]) -> TaskRef:
        """Move the task, of which `row` was read in this transaction, to where its jobs are made."""
        now = self.context.clock()
        why = "jobs submitted" if plan.scouts_left is None else "scout jobs submitted"
        also: dict[str, Any] = {"error_dialog": None, "started_at": row.started_at or now}
        if row.n_scouts is None:
            also |= {"n_scouts": plan.n_scouts, "first_scout_nr": row.next_serial_nr}
        moved = tasks.move_task(tx, held, plan.target, actor=self.name, why=why, now=now, **also)
        plan.recipe = replace(plan.recipe, datasets=datasets.of_task(tx, held.jeditaskid))
        return moved

    def _hold_back(self, held: TaskRef, to: TaskState, what: str, why: dict[str, Any], until: datetime) -> datetime:
        now = self.context.clock()
        text = f"{what}: {_in_words(why)}"
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            decisions.record(tx, actor=self.name, what=what, why=why, now=now, jeditaskid=held.jeditaskid)
            if held.status is to:
                tasks.update_task(tx, held.jeditaskid, error_dialog=text[:1024], modified_at=now)
            else:
                tasks.move_task(tx, held, to, actor=self.name, why=text, now=now, error_dialog=text[:1024])
        return until


def _files_per_job(task: TaskView) -> int:
    """How many files the task says that a job gets; 0 where that is left to their sizes."""
    return int(task.split_rule.get("nFilesPerJob") or task.split_rule.get("nMaxFilesPerJob") or 0)


def _check_split(groups: Sequence[Sequence[InputFile]], given: Sequence[InputFile]) -> None:
    """Raise `PluginFailed` unless each file is in one job at the most; else they would be refused, again and again."""
    taken = [file.fileid for group in groups for file in group]
    if len(set(taken)) < len(taken) or not {file.fileid for file in given}.issuperset(taken) or not all(groups):
        raise PluginFailed("the job splitter gave a job without files, a file twice, or one that it was not given")


def _in_words(why: dict[str, Any]) -> str:
    """The reasons for people: `too little memory (3 queues, such as A)`."""
    if "throttle" in why:
        return str(why["throttle"])
    rejected = why.get("rejected")
    if rejected is None:
        return ", ".join(str(value) for value in why.values())
    if not rejected:
        return "there are no queues: `bamboo queue set` enters one"
    return ", ".join(
        f"{reason} ({entry['count']} queues, such as {entry['example']}{_change(entry)})"
        for reason, entry in rejected.items()
    )


def _change(entry: dict[str, Any]) -> str:
    return f"; to pass: {entry['change']}" if entry.get("change") else ""
