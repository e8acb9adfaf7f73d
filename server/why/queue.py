"""Why a queue gets the work that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.gates import GateCount
from ...core.tunables import tunable
from ...core.why import Step, Why
from ...plugins.manager import Plugins
from ...plugins.questions import read_question
from ...plugins.what_if import Edit, changed, parse
from ...sql import counts, open_work, queues, settings
from .steps import dispatch_step, standing

ASKED_TASKS = tunable(
    "pandaserver",
    "why",
    "ASKED_TASKS",
    50,
    unit="tasks",
    source="our choice: a question takes up to 50 ms, and all of them together a few seconds",
    help="About how many tasks brokers are asked for the answer to `bamboo why QUEUE`, by priority.",
)


def why_queue(tx: sa.Connection, plugins: Plugins, name: str, tried: Sequence[str], *, now: datetime) -> Why:
    """The chain of a queue: its state, what brokers say of it for the tasks with inputs left, what its pilots found.

    Raises `NotFound`, and `Invalid` for changes that cannot be made.
    """
    edits = parse(tried, queues.names(tx) if tried else None)
    status, state = standing(tx, name, edits)
    n_jobs = counts.by_queue_now(tx, name).get(name, {})
    told = ", ".join(f"{n} {status}" for status, n in n_jobs.items()) or "none"
    online = status == "online" and state == "ACTIVE"
    steps = [Step("status", f"{status}, {state}; jobs: {told}", online)]
    steps += [_brokers(tx, plugins, name, edits, now), dispatch_step(tx, name, now, edits=edits)]
    return Why(f"queue {name}", status, steps, tuple(tried))


def _brokers(tx: sa.Connection, plugins: Plugins, name: str, edits: Sequence[Edit], now: datetime) -> Step:
    """For how many tasks with inputs left the queue is chosen, and which gates keep it from the others.

    Each task has one gate that stops this queue; `passed over` are tasks that it fits, for which others weigh more.
    """
    most = max(1, settings.numbers(tx)(ASKED_TASKS))
    rows = open_work.tasks_with_inputs(tx, limit=most + 1)
    taken: list[int] = []
    stopped: dict[str, list[tuple[int, str]]] = {}
    for row in rows[:most]:
        gate, change = asked(plugins, changed(read_question(tx, row, now=now, whole=bool(edits)), edits), name)
        if gate:
            stopped.setdefault(gate, []).append((row.jeditaskid, change))
        else:
            taken.append(row.jeditaskid)
    n_in = len(rows[:most])
    says = f"chosen for {len(taken)} of {n_in} tasks with inputs left" + (", by priority" if len(rows) > most else "")
    gates = []
    for gate, tasks in sorted(stopped.items(), key=lambda item: (-len(item[1]), item[0])):
        example, change = tasks[0]
        gates.append(GateCount(gate, n_in, n_in - len(tasks), f"task {example}", change))
        n_in -= len(tasks)
    return Step("broker", says, bool(taken) or not rows, gates, {"chosen_for": taken})


def asked(plugins: Plugins, question: Any, name: str) -> tuple[str, str]:
    """The gate that keeps a queue from a task, and what would let it through; empty if it is chosen."""
    choice = question.choose(plugins)
    if name in choice.chosen:
        return "", ""
    if not any(name in names for names in choice.rejected.values()):
        return "passed over", f"a greater weight than {choice.chosen[-1]}" if choice.chosen else ""
    alone = replace(question, queues=[queue for queue in question.queues if queue.queue == name]).choose(plugins)
    gate = next(reason for reason, names in choice.rejected.items() if name in names)
    return gate, alone.changes.get(gate, ("", ""))[1]
