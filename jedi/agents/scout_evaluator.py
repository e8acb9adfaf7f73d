"""Scout Evaluator: sets a task's figures by those of its first jobs, or asks its user to decide (manual ch. 15)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.states import TaskState
from ...core.tunables import Numbers
from ...plugins.capacity import core_power
from ...plugins.contracts import TaskView, from_row
from ...plugins.scouting import N_AVALANCHED
from ...sql import decisions, scouts, settings, tasks
from ...sql.engine import reading
from ...sql.scouts import Census
from ...sql.tasks import TaskRef
from ..scouts.applying import Changes, apply
from ..scouts.exhaustion import Findings, worries
from ..scouts.measuring import ScoutJob, measure
from ..task_agent import TaskAgent

_WAYS_OUT = " (`bamboo task retry {0} --set KEY=VALUE` with better parameters, or `bamboo task avalanche {0}`)"


class ScoutEvaluator(TaskAgent):
    """Moves `scouting` tasks to `scouted` when half of their scouts are done, or to `exhausted`.

    When the first jobs after the avalanche are done the figures are reckoned once more, from those; the task goes on.
    """

    name = "scout_evaluator"
    states = (TaskState.SCOUTING, TaskState.RUNNING)

    def conditions(self) -> Sequence[sa.ColumnElement[bool]]:
        return [scouts.figures_are_due(self._numbers(None)(N_AVALANCHED))]

    def work(self, held: TaskRef, row: sa.Row[Any]) -> datetime | None:
        numbers = self._numbers(row.vo)
        with reading(self.context.engine) as tx:
            census = scouts.census(tx, row)
            found = scouts.to_measure(tx, row, n_avalanched=numbers(N_AVALANCHED))
        jobs = [scout_job(job, numbers) for job in found]
        task = from_row(TaskView, row)
        findings = Findings(jobs, measure(task, jobs, numbers), numbers)
        changes = apply(task, findings.figures)
        if row.optimisation_stage > 0:
            self._adjust(held, changes, len(jobs))
        else:
            faults = _too_few(census, row.n_scouts) or worries(task, findings)
            self._end_of_scouting(held, changes, census, faults)
        return None

    def _numbers(self, vo: str | None) -> Numbers:
        with reading(self.context.engine) as tx:
            return settings.numbers(tx, vo)

    def _adjust(self, held: TaskRef, changes: Changes, n_jobs: int) -> None:
        now, what = self.context.clock(), f"figures of {n_jobs} jobs after the avalanche"
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            tasks.update_task(tx, held.jeditaskid, **changes.columns, optimisation_stage=2, modified_at=now)
            why = {"figures": changes.why}
            decisions.record(tx, actor=self.name, what=what, why=why, now=now, jeditaskid=held.jeditaskid)

    def _end_of_scouting(self, held: TaskRef, changes: Changes, census: Census, faults: dict[str, str]) -> None:
        """The figures are entered in any case: an avalanche goes on with them, a retry may bring new ones."""
        now = self.context.clock()
        to = TaskState.EXHAUSTED if faults else TaskState.SCOUTED
        what = "exhausted by its scouts" if faults else "figures of the scouts"
        text = "; ".join(faults.values()) or f"{census.done} of {census.made} scouts are done"
        dialog = f"exhausted: {text}"[:900] + _WAYS_OUT.format(held.jeditaskid) if faults else None
        also: dict[str, Any] = {**changes.columns, "error_dialog": dialog}
        why = {"done": census.done, "made": census.made, "faults": faults, "figures": changes.why}
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            stage = 0 if faults else 1
            tasks.move_task(tx, held, to, actor=self.name, why=text, now=now, optimisation_stage=stage, **also)
            decisions.record(tx, actor=self.name, what=what, why=why, now=now, jeditaskid=held.jeditaskid)


def _too_few(census: Census, n_scouts: int) -> dict[str, str]:
    """The fault of a task whose scouts are over before half of them were done."""
    if census.done * 2 >= n_scouts:
        return {}
    tried = f"only {census.done} of {census.made} scouts were done: see why they failed, and retry"
    return {"scouts failed": tried}


def scout_job(row: sa.Row[Any], numbers: Numbers) -> ScoutJob:
    """What a row of `sql.scouts.to_measure` says of a job. Memory is PSS, or RSS of a pilot that does not know it."""
    began, ended = row.started_at, row.ended_at
    traffic = [kb for kb in (row.tot_rbytes_kb, row.tot_wbytes_kb) if kb is not None]
    return ScoutJob(
        pandaid=row.pandaid,
        core_count=max(1, row.core_count),
        core_power=core_power(row.attributes or {}, numbers),
        exec_seconds=max(0.0, (ended - began).total_seconds()) if began and ended else 0.0,
        n_events=max(1, int(row.n_events or row.events_of_inputs)),
        input_bytes=int(row.input_bytes),
        output_bytes=int(row.output_bytes),
        cpu_seconds=row.cpu_consumption_seconds,
        max_pss_kb=row.max_pss_kb or row.max_rss_kb,
        work_dir_bytes=row.work_dir_bytes,
        disk_traffic_kb=sum(traffic) if traffic else None,
        leak_kb_per_second=row.memory_leak_kb_per_second,
    )
