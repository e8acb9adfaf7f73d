"""The round of an agent that works on tasks: take leases, work on each task by itself, give the leases back.

What can go wrong with one task is dealt with here, once, so that no task stops another: input that can never work
breaks the task, a passing problem or a bug leaves it `pending` with its reason, a lost race leaves it to the winner.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core import logs
from ..core.errors import BambooError, Invalid, NotFound, Stale
from ..core.states import TASKS, TaskState
from ..sql import tasks
from ..sql.engine import reading
from ..sql.error_words import in_words
from ..sql.tables import tasks as tasks_table
from ..sql.tasks import POISON_AFTER, TaskRef
from .context import Context, new_owner

log = logging.getLogger(__name__)

#: How long a task with a passing problem is left alone.
RETRY_SECONDS = 30.0
#: How long a task is left alone whose holders died over it: shortly at first, for whoever kills agents (a machine
#: without memory, a power cut) hits innocent tasks too, then twice as long after each further death, up to the second.
QUARANTINE_SECONDS = 15.0
LONGEST_QUARANTINE_SECONDS = 3600.0


@dataclass
class Round:
    """What a round did, in tasks."""

    done: int = 0
    postponed: int = 0
    broken: int = 0
    lost: int = 0


class TaskAgent:
    """An agent that works on tasks in certain states. Subclasses say which, and how."""

    name = ""
    #: States of the tasks it takes; `pending` tasks are taken that were in one of these before.
    states: tuple[TaskState, ...] = ()
    tasks_per_round = 20

    def __init__(self, context: Context) -> None:
        self.context = context
        self.owner = new_owner(self.name)

    def conditions(self) -> Sequence[sa.ColumnElement[bool]]:
        """What else must hold of the tasks it takes."""
        return ()

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        """Do what is to be done for one task; returns when to look at it again, if not at once."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Have the statements of a round that finds nothing compiled, in the engine that later forks inherit."""
        self._take(0)
        self.due_at(self.context.clock())

    def due_at(self, since: datetime) -> datetime | None:
        """When one of its tasks is to be looked at though nobody writes anything (`rest.Patient`)."""
        with reading(self.context.engine) as tx:
            return tasks.due_at(tx, self._statuses, since=since, conditions=self._conditions())

    @property
    def _statuses(self) -> list[TaskState]:
        return [*self.states, TaskState.PENDING]

    def _conditions(self) -> list[sa.ColumnElement[bool]]:
        return [_before_pending(self.states), *self.conditions()]

    def _take(self, limit: int) -> list[sa.Row[Any]]:
        now = self.context.clock()
        with self.context.engine.begin() as tx:
            return tasks.take(
                tx,
                self._statuses,
                owner=self.owner,
                until=self.lease_until(now),
                now=now,
                limit=limit,
                conditions=self._conditions(),
            )

    def run_once(self) -> Round:
        rows = self._take(self.tasks_per_round)
        report = Round()
        waiting = [tasks.ref(row, self.owner) for row in rows]
        try:
            for row in rows:
                waiting.pop(0)
                with logs.while_about(task=row.jeditaskid):
                    self._work_on(row, report)
        finally:
            self._give_back(waiting)
        return report

    def _give_back(self, waiting: Sequence[TaskRef]) -> None:
        """Release tasks that were not begun, so that they need not wait for their leases to run out."""
        if waiting:
            with self.context.engine.begin() as tx:
                for held in waiting:
                    tasks.release(tx, held)

    def lease_until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.context.settings.master.lease_seconds)

    def soon(self, now: datetime) -> datetime:
        """When to look again at a task that waits for its own jobs."""
        return now + timedelta(seconds=self.context.settings.master.period_seconds)

    def _work_on(self, row: sa.Row[Any], report: Round) -> None:
        held = tasks.ref(row, self.owner)
        next_round_at = None
        is_poison = row.lost_leases >= POISON_AFTER and row.next_round_at is None
        try:
            if is_poison:
                why = f"{row.lost_leases} agents died over this task"
                next_round_at = self._postpone(held, why, quarantine_seconds(row.lost_leases))
                report.postponed += 1
            else:
                next_round_at = self.work(held, row)
                report.done += 1
        except Stale as error:
            log.info("lost a task to another", extra={"event": "task_lost", "task": held.jeditaskid, "why": str(error)})
            report.lost += 1
        except (Invalid, NotFound) as error:
            self._break(held, str(error))
            report.broken += 1
        except BambooError as error:
            next_round_at = self._postpone(held, str(error), RETRY_SECONDS)
            report.postponed += 1
        except Exception as error:  # whatever it is: the other tasks must not wait for it
            log.exception("task failed", extra={"event": "task_failed", "task": held.jeditaskid})
            next_round_at = self._postpone(held, in_words(error), RETRY_SECONDS)
            report.postponed += 1
        finally:
            with self.context.engine.begin() as tx:
                tasks.release(tx, held, next_round_at=next_round_at, still_suspect=is_poison)

    def _break(self, held: TaskRef, why: str) -> None:
        self._leave(held, TaskState.TOBROKEN, why)

    def _postpone(self, held: TaskRef, why: str, seconds: float) -> datetime:
        self._leave(held, TaskState.PENDING, why)
        return self.context.clock() + timedelta(seconds=seconds)

    def _leave(self, held: TaskRef, to: TaskState, why: str) -> None:
        log.warning("task held up", extra={"event": "task_held_up", "task": held.jeditaskid, "why": why, "to": str(to)})
        try:
            with self.context.engine.begin() as tx:
                row = tasks.get_task(tx, held.jeditaskid, lock=True)
                if row.lease_owner != self.owner:
                    return
                now = self.context.clock()
                if TASKS.allows(TaskState(row.status), to):
                    tasks.move_task(
                        tx, tasks.ref(row, self.owner), to, actor=self.name, why=why, now=now, error_dialog=why[:1024]
                    )
                else:
                    tasks.update_task(tx, held.jeditaskid, error_dialog=why[:1024], modified_at=now)
        except Stale:
            return  # the task has a new holder, who will see for himself


def quarantine_seconds(lost_leases: int) -> float:
    """How long a task is left alone over which so many agents in a row have died."""
    doublings = min(max(0, lost_leases - POISON_AFTER), 16)
    return min(LONGEST_QUARANTINE_SECONDS, QUARANTINE_SECONDS * 2.0**doublings)


def _before_pending(states: Sequence[TaskState]) -> sa.ColumnElement[bool]:
    return sa.or_(tasks_table.c.status != TaskState.PENDING, tasks_table.c.old_status.in_(list(states)))
