"""Watch Dog: carries out kills and finishes, finds what was overlooked, runs the watchdog plugins (ch. 7.1.2, 21)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.states import LEASED, QUEUED, JobState, TaskState
from ...plugins.contracts import Mission
from ...sql import accounting, completion, datasets, files, jobs, leases, merging, tasks
from ...sql.engine import reading
from ...sql.tasks import TaskRef
from ..context import Context, new_owner
from ..notifying import tell_ends
from ..task_agent import TaskAgent

log = logging.getLogger(__name__)

#: Jobs that are killed in one transaction.
PAGE = 2000
#: How often a task that is being ended is looked at.
LOOK_SECONDS = 1.0


class TaskEnder(TaskAgent):
    """Ends the jobs of tasks that are being killed or finished, and then moves the tasks on.

    Of a task that has reached its goal, the last jobs are awaited.
    """

    name = "watch_dog"
    states = (TaskState.ABORTING, TaskState.FINISHING, TaskState.PASSED)

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        if held.status is TaskState.ABORTING or row.jobs_to_kill:
            self._kill_jobs(held)
        else:
            self._release_jobs(held)
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            n_open = jobs.open_jobs(tx, held.jeditaskid)
            if n_open:
                return now + timedelta(seconds=LOOK_SECONDS)
            given_up = files.give_up_ready(tx, held.jeditaskid)
            counts = {datasetid: {"n_files_failed": n, "n_files_used": n} for datasetid, n in given_up.items()}
            datasets.add_counts(tx, counts, now=now)
            why, also = "no jobs left", dict[str, Any](jobs_to_kill=False)  # the task may go on one day
            if held.status is TaskState.ABORTING:
                to, also["ended_at"] = TaskState.ABORTED, now
            else:
                to, why = TaskState.PREPARED, f"{why}; {sum(given_up.values())} inputs were not tried"
            tasks.move_task(tx, held, to, actor=self.name, why=why, now=now, **also)
        return None

    def _release_jobs(self, held: TaskRef) -> None:
        """Let jobs that a pause holds back run to their end."""
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            held_back = jobs.of_task(tx, held.jeditaskid, [JobState.THROTTLED], limit=PAGE)
            why, now = "its paused task is finishing", self.context.clock()
            jobs.move_jobs(tx, held_back, JobState.ACTIVATED, actor=self.name, why=why, now=now)

    def _kill_jobs(self, held: TaskRef) -> None:
        """Cancel the jobs that no pilot has, and tell the pilots of the others.

        A run job whose merge job is with a pilot waits for its end: it may be merged before the pilot hears.
        """
        why = "the task is being ended"
        while True:
            now = self.context.clock()
            with self.context.engine.begin() as tx:
                tasks.hold(tx, held)
                tasks.extend(tx, held, until=self.lease_until(now))
                queued = jobs.of_task(tx, held.jeditaskid, QUEUED, limit=PAGE)
                queued += merging.without_merge_job(tx, held.jeditaskid, limit=PAGE)
                endings = [accounting.Ending(job, JobState.CANCELLED, why) for job in queued]
                accounting.book(tx, endings, actor=self.name, now=now)
                if not queued:
                    leased = jobs.of_task(tx, held.jeditaskid, LEASED, limit=1_000_000)
                    jobs.order(tx, leased, "tobekilled", now=now)
                    return


@dataclass
class Missions:
    """What the watchdogs did: tasks that were complete, or had reached their goals; ends that were told."""

    completed: int = 0
    passed: int = 0
    told: int = 0
    plugin_counts: int = 0
    plugin_errors: int = 0


#: A watchdog plugin's name, one of its missions, and the function that carries it out.
Errand = tuple[str, Mission, Callable[..., Any]]


class WatchDog:
    """Finds tasks that are complete or have reached their goals, tells ends, and gives each watchdog plugin its turn.

    A mission with a period of its own has a lease of its own, so that of several processes each can be on another
    mission (manual ch. 21: watchdogs do not block one another).
    """

    name = "watch_dog_missions"
    period_seconds = 10.0

    def __init__(self, context: Context) -> None:
        self.context = context
        self.owner = new_owner(self.name)

    def due_at(self, since: datetime) -> datetime | None:
        """When its turn comes again."""
        periods = {_lease_name(mission): mission.period_seconds for _, mission, _ in self._errands(timed=True)}
        with reading(self.context.engine) as tx:
            due = [leases.free_at(tx, "watchdog", period_seconds=self.period_seconds)]
            due += [leases.free_at(tx, name, period_seconds=period or 0) for name, period in periods.items()]
        return min((moment for moment in due if moment is not None), default=None)

    def run_once(self) -> Missions:
        report = Missions()
        lease = self._acquire("watchdog", self.period_seconds)
        if lease is not None:
            now = self.context.clock()
            with self.context.engine.begin() as tx:
                overlooked = completion.overlooked(tx, limit=PAGE)
                report.completed = len(completion.complete_tasks(tx, overlooked, actor=self.name, now=now))
            with self.context.engine.begin() as tx:
                report.passed = completion.pass_goals(tx, limit=PAGE, actor=self.name, now=now)
            report.told = tell_ends(self.context)
            for errand in self._errands(timed=False):
                self._carry_out(errand, report)
            self._release(lease)
        for errand in self._errands(timed=True):
            mission = errand[1]
            lease = self._acquire(_lease_name(mission), mission.period_seconds or 0)
            if lease is not None:
                self._carry_out(errand, report)
                self._release(lease)
        return report

    def _errands(self, *, timed: bool) -> list[Errand]:
        return [one for one in self.context.plugins.missions() if (one[1].period_seconds is not None) is timed]

    def _carry_out(self, errand: Errand, report: Missions) -> None:
        plugin, mission, watch = errand
        try:
            counts = watch(now=self.context.clock(), mission=mission)
        except Exception:  # one plugin's failure must not keep the others from their turn
            log.exception("watchdog failed", extra={"event": "watchdog_failed", "plugin": plugin})
            report.plugin_errors += 1
        else:
            report.plugin_counts += sum((counts or {}).values())

    def _acquire(self, name: str, period_seconds: float) -> leases.Lease | None:
        now = self.context.clock()
        until = now + timedelta(seconds=self.context.settings.master.lease_seconds)
        with self.context.engine.begin() as tx:
            return leases.acquire(tx, name, self.owner, until=until, now=now, period_seconds=period_seconds)

    def _release(self, lease: leases.Lease) -> None:
        with self.context.engine.begin() as tx:
            leases.release(tx, lease)


def _lease_name(mission: Mission) -> str:
    scope = f"{'|'.join(sorted(mission.vos))}:{'|'.join(sorted(mission.labels))}"
    return f"watchdog {mission.name} {scope}"[:128]
