"""Queue Filler: ties fitting tasks to queues that have run empty, until they are no longer (manual ch. 21.1.3)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.errors import PluginFailed
from ...core.gates import Gate, GateCount, Passage, Refusal, pass_through
from ...core.states import TaskState
from ...core.tunables import Numbers, tunable
from ...sql import counts, decisions, locality, preassignments, queues
from ...sql.engine import reading
from ...sql.tables import tasks as tasks_table
from ..contracts import Choice, Mission, PluginContext, QueueView, TaskView, from_row
from ..grid import Grid
from ..grid_reader import read_grid
from ..hookspecs import hookimpl
from .queue_load import is_empty

MAX_PREASSIGNED_TASKS = tunable(
    "jedi",
    "queue_filler",
    "MAX_PREASSIGNED_TASKS_",
    3,
    unit="tasks",
    source="manual ch. 21.1.3 (the name); the default is our choice",
    help="Tasks that are tied to an empty queue at a time, for each resource type. One for each activity.",
)
MIN_FILES_READY = tunable(
    "jedi",
    "queue_filler",
    "MIN_FILES_READY_",
    50,
    unit="files",
    source="manual ch. 21.1.3 (the name); the default is our choice",
    help="Inputs without a job that a task must have. One for each activity.",
)
MIN_FILES_REMAINING = tunable(
    "jedi",
    "queue_filler",
    "MIN_FILES_REMAINING_",
    100,
    unit="files",
    source="manual ch. 21.1.3 (the name); the default is our choice",
    help="Inputs that are not processed yet, with and without a job, that a task must have. One for each activity.",
)
MAX_ASKED_TASKS = tunable(
    "jedi",
    "queue_filler",
    "MAX_ASKED_TASKS",
    100,
    unit="tasks",
    source="our choice: each costs some milliseconds",
    help="About how many tasks the job brokerage is asked for each empty queue, in a round.",
)
PATIENCE_SECONDS = tunable(
    "jedi",
    "queue_filler",
    "PATIENCE_SECONDS",
    600.0,
    unit="s",
    source="our choice: the period of the manual's example in ch. 21.1.3",
    help="A task that is pending so long after it was tied is refused by the brokerage, and goes elsewhere.",
)
ACTOR = "queue_filler"
#: What the brokerage says about a task and a queue.
Ask = Callable[[TaskView, QueueView], Choice]
PAGE = 10_000
_FAILED = "the job brokerage failed"


@dataclass(frozen=True)
class Candidate:
    """A task that is tied to no queue. `holders` are the sites that have files of all its inputs."""

    task: TaskView
    holders: frozenset[str]
    n_ready: int  #: inputs of which no job was made
    n_remaining: int  #: inputs that are not accounted for

    @property
    def name(self) -> str:
        return str(self.task.jeditaskid)


@dataclass(frozen=True)
class Held:
    """A task that is tied to a queue, or, with `is_refused`, was and is not to be tied there again.

    `is_over`: no more jobs are made of it, or its owner has named another site. `is_stuck`: the brokerage does not
    send its jobs there, for reasons that only it knows.
    """

    jeditaskid: int
    queue: str
    resource_type: str
    is_over: bool = False
    is_stuck: bool = False
    is_refused: bool = False


@dataclass(frozen=True)
class Situation:
    """An empty queue, the tasks that the brokerage did not send there, and the numbers."""

    queue: QueueView
    numbers: Numbers
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Plan:
    """What is to be done: {task: queue} to tie, with why each queue chose so, and tasks to untie with the reason.

    Of the latter, `refused` are not to be tied to the same queue again, as long as it is empty.
    """

    tie: Mapping[int, str] = field(default_factory=dict)
    chosen: Mapping[str, Passage[Candidate]] = field(default_factory=dict)
    untie: Mapping[int, str] = field(default_factory=dict)
    refused: frozenset[int] = frozenset()


def _local(at: Situation, one: Candidate) -> Refusal | None:
    return None if at.queue.site in one.holders else Refusal(f"copy its inputs to {at.queue.site}")


def _welcome(at: Situation, one: Candidate) -> Refusal | None:
    """Else a task would wait at a queue that stays empty because no job of it may go there."""
    return Refusal("the brokerage sends its jobs there") if one.task.jeditaskid in at.refused else None


def _ready(at: Situation, one: Candidate) -> Refusal | None:
    short = at.numbers(MIN_FILES_READY, one.task.prod_source_label) - one.n_ready
    return Refusal(f"{short} more inputs without a job", short) if short > 0 else None


def _remaining(at: Situation, one: Candidate) -> Refusal | None:
    short = at.numbers(MIN_FILES_REMAINING, one.task.prod_source_label) - one.n_remaining
    return Refusal(f"{short} more inputs to process", short) if short > 0 else None


GATES: tuple[Gate[Situation, Candidate], ...] = (
    Gate("its inputs are elsewhere", _local, "manual ch. 21.1.3"),
    Gate("was refused before", _welcome, "our choice"),
    Gate("too few inputs are ready", _ready, "manual ch. 21.1.3"),
    Gate("too few inputs are left", _remaining, "manual ch. 21.1.3"),
)


def fill(
    queues: Sequence[QueueView], candidates: Sequence[Candidate], held: Sequence[Held], numbers: Numbers, ask: Ask
) -> Plan:
    """Choose tasks for empty queues, in the order of the candidates, and those that need not be tied any longer.

    Each queue gets at most MAX_PREASSIGNED_TASKS of a resource type, with those it has; a task goes to one queue. The
    brokerage is asked about those that pass the gates here, as long as there is room for them.
    """
    empty = {queue.queue: queue for queue in queues if is_empty(queue, numbers)}
    untie = {one.jeditaskid: "it makes no more jobs here" for one in held if one.is_over}
    stuck = {one.jeditaskid: one.queue for one in held if one.is_stuck and not one.is_over and one.queue in empty}
    untie |= {task: f"the brokerage sends none of its jobs to {name}" for task, name in stuck.items()}
    untie |= {one.jeditaskid: f"{one.queue} is no longer empty" for one in held if one.queue not in empty}
    refused = {one.jeditaskid: one.queue for one in held if one.is_refused and one.queue in empty}
    tied = [one for one in held if one.jeditaskid not in untie and not one.is_refused]
    n_held = Counter((one.queue, one.resource_type) for one in tied)
    near: dict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        for site in one.holders:
            near[site].append(one)
    tie: dict[int, str] = {}
    chosen: dict[str, Passage[Candidate]] = {}
    for name in sorted(empty):
        free = [one for one in near[empty[name].site] if one.task.jeditaskid not in tie]
        barred = frozenset(task for task, there in refused.items() if there == name)
        passage = pass_through(GATES, Situation(empty[name], numbers, barred), free, lambda one: one.name)
        passage = _with_all(passage, n_in=len(candidates) - len(tie))
        taken, chosen[name] = _brokered(passage, empty[name], numbers, n_held, ask)
        tie |= {one.task.jeditaskid: name for one in taken}
    return Plan(tie, chosen, untie, frozenset(stuck))


def _with_all(passage: Passage[Candidate], n_in: int) -> Passage[Candidate]:
    """A passage of the tasks near a queue as one of all tasks: the first gate has stopped those that are elsewhere.

    Most tasks are elsewhere of most queues, and to send them to the gates takes longer than everything else.
    """
    first, *others = passage.counts
    return replace(passage, counts=[replace(first, n_in=n_in), *others])


def _brokered(
    passage: Passage[Candidate], queue: QueueView, numbers: Numbers, n_held: Counter[tuple[str, str]], ask: Ask
) -> tuple[list[Candidate], Passage[Candidate]]:
    """The tasks for which there is room at a queue and which the brokerage sends there, and the passage with its
    refusals. `n_held` counts those that are tied: {(queue, resource type): tasks}."""
    taken: list[Candidate] = []
    refused: dict[str, tuple[str, Refusal]] = {}
    for one in passage.left:
        place = (queue.queue, one.task.resource_type)
        if n_held[place] >= numbers(MAX_PREASSIGNED_TASKS, one.task.prod_source_label):
            continue
        if len(taken) + len(refused) >= numbers(MAX_ASKED_TASKS):
            break
        choice = ask(one.task, queue)
        if choice.chosen:
            n_held[place] += 1
            taken.append(one)
        else:
            gate = next((reason for reason, names in choice.rejected.items() if names), "the job brokerage")
            refused[one.name] = (gate, Refusal(choice.changes.get(gate, ("", ""))[1]))
    left = [one for one in passage.left if one.name not in refused]
    counts, n_in = list(passage.counts), len(passage.left)
    for gate in dict.fromkeys(gate for gate, _ in refused.values()):
        stopped = [name for name, (by, _) in refused.items() if by == gate]
        counts.append(GateCount(gate, n_in, n_in - len(stopped), stopped[0], refused[stopped[0]][1].change))
        n_in -= len(stopped)
    return taken, Passage(left, counts, {**passage.refused, **refused})


class QueueFiller:
    """Ties tasks by naming the queue as their site, and unties them when the queue has enough to do."""

    period_seconds = 600.0

    def __init__(self, context: PluginContext) -> None:
        self._engine = context.engine
        self._numbers = context.numbers
        self._ask_broker = context.ask

    @hookimpl
    def watch(self, now: datetime, mission: Mission) -> Mapping[str, int] | None:
        scope = locality.in_scope(mission.vos, mission.labels)
        with reading(self._engine) as tx:
            rows = preassignments.with_ready_inputs(tx, [*scope, tasks_table.c.site.is_(None)], limit=PAGE)
            holders = locality.holders(tx, [row.jeditaskid for row in rows])
            tied = preassignments.every(tx, scope)
            load = counts.by_queue(tx)
            known = [from_row(QueueView, row, jobs=load.get(row.queue, {})) for row in queues.list_queues(tx)]
        numbers = self._numbers(next(iter(mission.vos)) if len(mission.vos) == 1 else None)
        patience = timedelta(seconds=numbers(PATIENCE_SECONDS))
        held = [_held(row, stuck_if_before=now - patience) for row in tied]
        plan = fill(known, [_candidate(row, holders) for row in rows], held, numbers, self._asking(rows, now))
        queue_of = {row.jeditaskid: row.queue for row in tied}
        n_tied = sum(self._tie(task, queue, plan.chosen[queue], now) for task, queue in plan.tie.items())
        for task, why in plan.untie.items():
            self._untie(task, queue_of[task], why, now, is_refused=task in plan.refused)
        done = {"tasks_tied": n_tied, "tasks_untied": len(plan.untie)}
        return {what: n for what, n in done.items() if n}

    def _asking(self, rows: Sequence[sa.Row[Any]], now: datetime) -> Ask:
        """Asks the job broker that is configured for a task, which sees the grid as it does for the Job Generator."""
        row_of = {row.jeditaskid: row for row in rows}
        grids: dict[int, Grid] = {}

        def _ask(task: TaskView, queue: QueueView) -> Choice:
            if task.jeditaskid not in grids:
                with reading(self._engine) as tx:
                    grids[task.jeditaskid] = read_grid(tx, row_of[task.jeditaskid], now=now)
            asked = {"task": task, "queues": [queue], "grid": grids[task.jeditaskid]}
            try:
                choice: Choice = self._ask_broker("jobbroker", "choose_queue", task.vo, task.prod_source_label, **asked)
            except PluginFailed as error:  # which is of that task: the others have their turn
                return Choice([], {_FAILED: [queue.queue]}, {_FAILED: (queue.queue, str(error))})
            return choice

        return _ask

    def _tie(self, jeditaskid: int, queue: str, passage: Passage[Candidate], now: datetime) -> bool:
        what = f"pre-assigned to {queue}, which is empty"
        with self._engine.begin() as tx:
            if not preassignments.enter(tx, jeditaskid, queue, now=now):
                return False
            why = passage.why()
            decisions.record(tx, actor=ACTOR, what=what, why=why, now=now, jeditaskid=jeditaskid, queue=queue)
        return True

    def _untie(self, jeditaskid: int, queue: str, why: str, now: datetime, *, is_refused: bool) -> None:
        with self._engine.begin() as tx:
            preassignments.remove(tx, jeditaskid, queue, now=now, is_refused=is_refused)
            what = f"no longer pre-assigned to {queue}"
            decisions.record(
                tx, actor=ACTOR, what=what, why={"because": why}, now=now, jeditaskid=jeditaskid, queue=queue
            )


def _candidate(row: sa.Row[Any], holders: Mapping[int, frozenset[str]]) -> Candidate:
    at = holders.get(row.jeditaskid, frozenset())
    return Candidate(from_row(TaskView, row), at, row.n_ready, row.n_remaining)


def _held(row: sa.Row[Any], *, stuck_if_before: datetime) -> Held:
    if row.is_refused:
        return Held(
            row.jeditaskid, row.queue, row.resource_type, row.status not in preassignments.WORKING, is_refused=True
        )
    is_over = row.status not in preassignments.WORKING or row.site != row.queue
    is_stuck = row.status == TaskState.PENDING and row.at <= stuck_if_before
    return Held(row.jeditaskid, row.queue, row.resource_type, is_over, is_stuck)
