"""Steps that several chains have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.gates import GateCount
from ...core.partitions import Limit, Load, partition_of, throttled
from ...core.shares import Turns
from ...core.states import StateTable
from ...core.why import Step
from ...plugins.manager import Plugins
from ...plugins.questions import Question, read_nucleus_question
from ...plugins.what_if import Edit
from ...sql import claim_gates, decisions, leases, queues, settings, shares
from ...sql import grid as grid_sql
from ..unserved import ACTOR, claim_of


def state_step(table: StateTable[Any], status: str, says: str = "", *, passes: bool = True, **more: Any) -> Step:
    """What a state means and who moves it on."""
    row = table.rows[table.states(status)]
    told = [f"{status}: {row.meaning}", f"next: {row.mover}" if row.onward else "", says]
    return Step("state", "; ".join(one for one in told if one), passes, more=more)


def throttle_steps(
    tx: sa.Connection, plugins: Plugins, question: Question, work_queue_id: int | None, now: datetime
) -> list[Step]:
    """Whether more jobs may be made: by the partition of the task, if there are any, and by the throttler."""
    answer = question.throttle(plugins)
    says = f"{answer.max_new_jobs} more jobs may be queued: {answer.why}"
    return [
        *partition_step(tx, question, work_queue_id, now),
        Step("throttler", says, answer.max_new_jobs > 0),
    ]


def partition_step(tx: sa.Connection, question: Question, work_queue_id: int | None, now: datetime) -> list[Step]:
    """Which partition the task is in, who works on it, and whether it is full; nothing where tasks are not divided."""
    own = shares.limited_queues(tx)
    if not own and not shares.tree(tx).shares:
        return []
    partition = partition_of(question.task.gshare, question.task.resource_type, work_queue_id, own)
    limit = Limit(partition, shares.loads(tx, own).get(partition, Load()), settings.numbers(tx))
    passage = throttled(limit)
    holder, begun = leases.holding(tx, partition.lease_name, now=now)
    if holder:
        turn = f"{holder} works on it"
    else:
        turn = f"it had its turn {_ago(now - begun)} ago" if begun else "it had no turn yet"
    load = f"{limit.load.queued} jobs of {partition} are queued, {limit.load.running} run; {limit.most} may be queued"
    more = {"partition": str(partition), "held_by": holder}
    return [Step("partition", f"{load}; {turn}", bool(passage.left), passage.counts, more)]


def broker_step(plugins: Plugins, question: Question) -> Step:
    """To which queues the next jobs would go, and what keeps the others out."""
    question, choice = question.settled(plugins)
    gates = choice.gates()
    if choice.chosen:
        others = f" and {len(choice.chosen) - 3} more" if len(choice.chosen) > 3 else ""
        says = f"jobs go to {', '.join(choice.pseudo_queues.get(name, name) for name in choice.chosen[:3])}{others}"
    elif question.queues:
        says = f"none of {len(question.queues)} queues fits"
    else:
        says = "there are no queues: `bamboo queue set` enters one"
    weights = {name: choice.weights[name] for name in choice.chosen if name in choice.weights}
    more = {"chosen": list(choice.chosen), "weights": weights, "pseudo_queues": dict(choice.pseudo_queues)}
    return Step("broker", says, bool(choice.chosen), gates, more)


def nucleus_step(tx: sa.Connection, plugins: Plugins, row: sa.Row[Any], now: datetime) -> Step:
    """To which storage the outputs of a task would go, and what keeps the others out."""
    choice = read_nucleus_question(tx, row, now=now).choose(plugins)
    chosen = choice.chosen[0] if choice.chosen else None
    says = f"outputs go to {chosen}" if chosen else "no storage can take the outputs"
    return Step("nucleus", says, chosen is not None, choice.gates(), {"chosen": list(choice.chosen)})


def share_step(turns: Turns | None, gshare: str) -> list[Step]:
    """Where a share is among those whose turn it is; nothing without shares."""
    if turns is None:
        return []
    order = turns.order
    standing = next((one for one in turns.passage.left if one.share == gshare), None)
    if standing is None:
        return [Step("share order", f"{gshare} has no queued job in the last count", True, turns.passage.counts)]
    place = order.index(gshare)
    says = (
        f"{gshare} is number {place + 1} of {len(order)}: "
        f"target {standing.target:.1f} cores, {standing.running:g} run, {standing.queued:g} wait"
    )
    if place:
        first = turns.passage.left[0]
        says += f"; before it {first.share} (target {first.target:.1f}, {first.running:g} run)"
    passes = place == 0 or standing.distance > 0
    return [Step("share order", says, passes, more={"order": turns.why()["order"]})]


def standing(tx: sa.Connection, queue: str, edits: Sequence[Edit] = ()) -> tuple[str, str]:
    """The status and the state of a queue, as they are or as somebody tries them."""
    row = queues.get_queue(tx, queue)
    mine = {edit.key: str(edit.value) for edit in edits if edit.noun == "queue" and edit.queue in ("", queue)}
    return mine.get("status", row.status), mine.get("state", row.state)


def dispatch_step(
    tx: sa.Connection, queue: str, now: datetime, *of: sa.ColumnElement[bool], edits: Sequence[Edit] = ()
) -> Step:
    """Whether the pilot that last found nothing at a queue would get work now; `of` limits which jobs are meant.

    A queue that is offline gets no pilots: whoever starts them reads that, and the claim does not ask for it.
    """
    status, state = standing(tx, queue, edits)
    if status == "offline" or state != "ACTIVE":
        says = f"{queue} is {status}, {state}: no pilots are sent to it"
        change = "; ".join(
            word
            for word, is_so in (
                (f"set its status from {status} to online", status == "offline"),
                (f"set its state from {state} to ACTIVE", state != "ACTIVE"),
            )
            if is_so
        )
        return Step("dispatcher", says, False, [GateCount("gets pilots", 1, 0, queue, change)], {"queue": queue})
    activity = next((one for one in grid_sql.activities(tx) if one.queue == queue), None)
    seen = activity.last_pilot_at if activity else None
    if seen is None:
        return Step("dispatcher", f"no pilot has asked for work at {queue}", False, more={"queue": queue})
    last = decisions.of_queue(tx, queue, ACTOR)
    asked = claim_of(queue, last.why.get("asked", {}) if last else {})
    gates = claim_gates.claim_gates(tx, asked, *of)
    says = f"the last pilot asked {queue} for work {_ago(now - seen)} ago"
    if last is not None:
        limits = ", ".join(f"{key} {_words(value)}" for key, value in last.why.get("asked", {}).items())
        says += f"; {_ago(now - last.last_at)} ago one got nothing" + (f" (it asked for {limits})" if limits else "")
    waiting, fit = gates[0].n_in, gates[-1].n_out
    says += f"; {fit} of {waiting} waiting jobs fit such a pilot"
    return Step("dispatcher", says, fit > 0 or waiting == 0, gates, {"queue": queue})


def _words(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _ago(past: timedelta) -> str:
    seconds = max(0, int(past.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def recorded_steps(rows: list[sa.Row[Any]], shown: int) -> list[Step]:
    """The last decisions on record."""
    return [
        Step(
            f"recorded: {row.actor}",
            row.what + (f" (again {row.repeated} times)" if row.repeated else ""),
            gates=[_gate(one) for one in row.why.get("gates", ())],
            more={"at": row.last_at, "reasons": row.why},
        )
        for row in rows[:shown]
    ]


def _gate(one: dict[str, Any]) -> GateCount:
    return GateCount(one["gate"], one["in"], one["out"], one["example"], one["change"])
