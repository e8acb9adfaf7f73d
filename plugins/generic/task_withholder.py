"""Task Withholder: lets tasks wait whose inputs are only where nothing can run now (manual ch. 21.1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.errors import Stale
from ...core.gates import Gate, Passage, Refusal, pass_through
from ...core.states import TaskState
from ...core.tunables import Numbers, tunable
from ...sql import counts, decisions, locality, preassignments, queues, tasks
from ...sql.engine import reading
from ...sql.tables import tasks as tasks_table
from ..contracts import Mission, PluginContext, QueueView, from_row
from ..hookspecs import hookimpl
from .queue_load import closed

LIMIT_IOINTENSITY = tunable(
    "jedi",
    "task_withholder",
    "LIMIT_IOINTENSITY_",
    500,
    unit="kB/s",
    source="manual ch. 21.1.2 (the name); the default is our choice",
    help="Only tasks with a higher ioIntensity are withheld. One for each activity.",
)
LIMIT_PRIORITY = tunable(
    "jedi",
    "task_withholder",
    "LIMIT_PRIORITY_",
    900,
    unit="priority",
    source="manual ch. 21.1.2 (the name); the default is our choice",
    help="Only tasks with a lower current priority are withheld. One for each activity.",
)
WITHHOLD_SECONDS = tunable(
    "jedi",
    "task_withholder",
    "WITHHOLD_SECONDS",
    1800.0,
    unit="s",
    source="our choice: the period of the manual's example in ch. 21.1.2",
    help="How long a withheld task is left alone before the brokerage looks at it again.",
)
ACTOR = "task_withholder"
PAGE = 10_000
#: States from which a task is withheld: those in which the brokerage would look at it.
STATES = (TaskState.READY, TaskState.SCOUTED, TaskState.RUNNING)


@dataclass(frozen=True)
class Candidate:
    """A task that may be withheld. `holders` are the sites that have files of all its inputs."""

    jeditaskid: int
    label: str
    priority: int
    io_intensity: int  #: kB/s of a job
    holders: frozenset[str]
    is_pinned: bool = False  #: its user has named queues or sites


@dataclass(frozen=True)
class Situation:
    """What a decision looks at beside the task: the queues of each site, and the numbers."""

    queues: Mapping[str, Sequence[QueueView]]
    numbers: Numbers

    @classmethod
    def of(cls, queues: Sequence[QueueView], numbers: Numbers) -> Situation:
        by_site: dict[str, list[QueueView]] = {}
        for queue in queues:
            by_site.setdefault(queue.site, []).append(queue)
        return cls(by_site, numbers)

    def beside(self, task: Candidate) -> list[QueueView]:
        """The queues of the sites that have all inputs of a task."""
        return [queue for site in sorted(task.holders) for queue in self.queues.get(site, ())]


def _io(at: Situation, task: Candidate) -> Refusal | None:
    limit = at.numbers(LIMIT_IOINTENSITY, task.label)
    if task.io_intensity > limit:
        return None
    return Refusal(f"its ioIntensity is {task.io_intensity} kB/s: more than {limit}", limit - task.io_intensity + 1.0)


def _priority(at: Situation, task: Candidate) -> Refusal | None:
    limit = at.numbers(LIMIT_PRIORITY, task.label)
    if task.priority < limit:
        return None
    return Refusal(f"its priority is {task.priority}: lower than {limit}", task.priority - limit + 1.0)


def _unpinned(at: Situation, task: Candidate) -> Refusal | None:
    """Where the user wants it to run, perhaps far from its inputs, the brokerage has to say."""
    return Refusal("its user names no site") if task.is_pinned else None


def _located(at: Situation, task: Candidate) -> Refusal | None:
    return None if at.beside(task) else Refusal("its inputs are together at a site with a queue")


def _hopeless(at: Situation, task: Candidate) -> Refusal | None:
    going = [queue.queue for queue in at.beside(task) if closed(queue, at.numbers) is None]
    return Refusal(f"{going[0]} stops taking jobs", len(going)) if going else None


#: Tasks that pass all of them are withheld; a refusal says what would have to be so.
GATES: tuple[Gate[Situation, Candidate], ...] = (
    Gate("reads much", _io, "manual ch. 21.1.2"),
    Gate("is not urgent", _priority, "manual ch. 21.1.2"),
    Gate("may run anywhere", _unpinned, "our choice: the brokerage knows what the user wants"),
    Gate("its inputs are beside queues", _located, "manual ch. 21.1.2"),
    Gate("all these queues are too busy or offline", _hopeless, "manual ch. 21.1.2"),
)


def hopeless(candidates: Sequence[Candidate], situation: Situation) -> Passage[Candidate]:
    """Choose the tasks to withhold.

    Where inputs are spread so that no site has files of each, jobs have to move data anyway, and the brokerage
    decides; a site without a queue can never run anything, and does not count.
    """
    return pass_through(GATES, situation, candidates, lambda task: str(task.jeditaskid))


def reasons(task: Candidate, situation: Situation) -> dict[str, Any]:
    """Why a task is withheld, as it is recorded: what keeps each queue beside its inputs from taking it."""
    kept = {queue.queue: closed(queue, situation.numbers) for queue in situation.beside(task)}
    nearest = sorted((one for one in kept.values() if one is not None), key=lambda one: one.distance)
    return {
        "passed": 0,
        "queues_beside_inputs": len(kept),
        "queues": [one.change for one in nearest[:3]],
        "change": nearest[0].change if nearest else "",
    }


class TaskWithholder:
    """Puts off hopeless tasks as `pending`, so that the brokerage need not look at them.

    They come back as other pending tasks do: when their time has come, the Job Generator takes them.
    """

    period_seconds = 1800.0

    def __init__(self, context: PluginContext) -> None:
        self._engine = context.engine
        self._numbers = context.numbers

    @hookimpl
    def watch(self, now: datetime, mission: Mission) -> Mapping[str, int] | None:
        scope = locality.in_scope(mission.vos, mission.labels)
        at_work = [tasks_table.c.status.in_(STATES)]
        with reading(self._engine) as tx:
            rows = preassignments.with_ready_inputs(tx, [*scope, *at_work], limit=PAGE)
            holders = locality.holders(tx, [row.jeditaskid for row in rows])
            load = counts.by_queue(tx)
            known = [from_row(QueueView, row, jobs=load.get(row.queue, {})) for row in queues.list_queues(tx)]
        withheld = 0
        for vo in sorted({row.vo for row in rows}):
            ours = [row for row in rows if row.vo == vo]
            of_vo = self._numbers(vo)
            situation = Situation.of([queue for queue in known if queue.vo in (None, "", vo)], of_vo)
            for task in hopeless([_candidate(row, holders) for row in ours], situation).left:
                row = next(row for row in ours if row.jeditaskid == task.jeditaskid)
                withheld += self._withhold(row, reasons(task, situation), of_vo(WITHHOLD_SECONDS), now)
        return {"tasks_withheld": withheld} if withheld else {}

    def _withhold(self, row: sa.Row[Any], why: dict[str, Any], seconds: float, now: datetime) -> bool:
        """Put one task off, unless somebody works on it or has moved it meanwhile."""
        text = f"withheld: {why['queues_beside_inputs']} queues beside its inputs are too busy or offline"
        until = now + timedelta(seconds=seconds)
        with self._engine.begin() as tx:
            found = tasks.get_task(tx, row.jeditaskid, lock=True)
            if found.status != row.status or (found.lease_until is not None and found.lease_until >= now):
                return False
            decisions.record(tx, actor=ACTOR, what="withheld", why=why, now=now, jeditaskid=row.jeditaskid)
            also: dict[str, Any] = {"error_dialog": f"{text}; {why['change']}"[:1024], "next_round_at": until}
            try:
                tasks.move_task(tx, tasks.ref(found), TaskState.PENDING, actor=ACTOR, why=text, now=now, **also)
            except Stale:
                return False
        return True


def _candidate(row: sa.Row[Any], holders: Mapping[int, frozenset[str]]) -> Candidate:
    return Candidate(
        jeditaskid=row.jeditaskid,
        label=row.prod_source_label,
        priority=row.current_priority,
        io_intensity=row.io_intensity,
        holders=holders.get(row.jeditaskid, frozenset()),
        is_pinned=bool(row.site or row.split_rule.get("includedSite")),
    )
