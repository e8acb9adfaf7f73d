"""Why a task is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.gates import GateCount
from ...core.states import TASKS, InputDatasetState, TaskState
from ...core.why import Step, Why
from ...plugins.manager import Plugins
from ...plugins.questions import read_question
from ...plugins.what_if import changed, parse
from ...sql import claim_gates, datasets, decisions, queues, scouts, shares
from ...sql import tasks as tasks_sql
from .standing_still import asleep, library_step, parent_step
from .steps import broker_step, dispatch_step, nucleus_step, recorded_steps, share_step, state_step, throttle_steps

#: Queues whose pilots are told of, those with most of the task's waiting jobs first.
SHOWN_QUEUES = 3
SHOWN_DECISIONS = 5
_T = TaskState
#: States in which no agent brings a task further: somebody has to do something, or it is over without its outputs.
STOPPED = frozenset({_T.PAUSED, _T.EXHAUSTED, _T.ABORTING, _T.ABORTED, _T.TOBROKEN, _T.BROKEN, _T.FAILED})
#: States in which no more jobs are made of inputs, whatever is left.
NO_NEW_JOBS = frozenset({_T.PASSED, _T.PREPARED, _T.FINISHING, _T.ABORTING, _T.TOBROKEN})


def why_task(tx: sa.Connection, plugins: Plugins, jeditaskid: int, tried: Sequence[str], *, now: datetime) -> Why:
    """The chain from the inputs to the pilots; with changes to try, of throttler and brokers under them.

    Raises `NotFound`, and `Invalid` for changes that cannot be made.
    """
    row = tasks_sql.get_task(tx, jeditaskid)
    edits = parse(tried, queues.names(tx) if tried else None)
    is_over = row.status in TASKS.final
    steps = [_state(row, now), *parent_step(tx, row)]
    if row.status == TaskState.ASSIGNING:
        steps.append(nucleus_step(tx, plugins, row, now))
    if not is_over or edits:
        inputs, n_ready = _inputs(tx, row)
        steps += [inputs, *_scouts(tx, row), *library_step(tx, row)]
        if edits or (n_ready and row.status not in NO_NEW_JOBS):
            question = changed(read_question(tx, row, now=now, whole=bool(edits)), edits)
            steps += throttle_steps(tx, plugins, question, row.work_queue_id, now)
            steps.append(broker_step(plugins, question))
    if row.error_dialog and all(step.passes for step in steps[1:]):  # else the one who stops it says it anew
        steps.insert(1, Step("reason", row.error_dialog, TaskState(row.status) not in STOPPED))
    if not is_over:
        waiting = claim_gates.waiting_at(tx, jeditaskid)
        if waiting:
            steps += share_step(shares.order_of(tx), row.gshare)
        mine = claim_gates.of_task(jeditaskid)
        steps += [dispatch_step(tx, one.queue, now, mine) for one in waiting[:SHOWN_QUEUES]]
    if not edits and all(step.passes for step in steps):
        steps[0] = asleep(steps[0], row, now)
    steps += recorded_steps(decisions.of_task(tx, jeditaskid), SHOWN_DECISIONS)
    return Why(f"task {jeditaskid}", row.status, steps, tuple(tried))


def _state(row: sa.Row[Any], now: datetime) -> Step:
    """What the state means, and when somebody looks at the task again."""
    says = []
    if row.lease_until is not None and row.lease_until > now:
        says.append(f"{row.lease_owner} is at work on it")
    elif row.next_round_at is not None and row.next_round_at > now and row.status not in TASKS.final:
        says.append(f"left alone until {row.next_round_at:%Y-%m-%d %H:%M:%S} UTC")
    passes = TaskState(row.status) not in STOPPED
    return state_step(TASKS, row.status, "; ".join(says), passes=passes, reason=row.error_dialog)


def _scouts(tx: sa.Connection, row: sa.Row[Any]) -> list[Step]:
    """Whether more jobs wait for the figures of the task's scouts; nothing for a task that scouts no more."""
    if not row.n_scouts or row.optimisation_stage > 0 or row.status in TASKS.final:
        return []
    census = scouts.census(tx, row)
    says = f"of {row.n_scouts} scouts {census.done} are done, {census.live} on their way, {census.fruitless} in vain"
    change = "half of the scouts done, or `bamboo task avalanche`"
    waits = scouts.has_all(tx, row.jeditaskid)
    gates = [GateCount("figures of the scouts", 1, 0, f"task {row.jeditaskid}", change)] if waits else []
    return [Step("scouts", says, not waits, gates)]


def _inputs(tx: sa.Connection, row: sa.Row[Any]) -> tuple[Step, int]:
    """Whether there are inputs of which jobs can be made, and how many."""
    master = next((one for one in datasets.of_task(tx, row.jeditaskid) if one.is_master), None)
    if master is None:
        return Step("inputs", "its input datasets are not known yet", False), 0
    n_there = master.n_files - master.n_files_missing
    n_ready = n_there - master.n_files_used
    gates = [
        GateCount("there", master.n_files, n_there, master.dataset_name, "register the files that are missing"),
        GateCount("not in a job yet", n_there, n_ready, master.dataset_name, "new files, or retried ones"),
    ]
    says = f"{master.n_files} files in {master.dataset_name}: {n_ready} for new jobs, {master.n_files_used} in jobs"
    if master.n_files_missing:
        says += f", {master.n_files_missing} missing"
    passes = n_ready > 0 or master.n_files_used > 0
    if master.status in (InputDatasetState.DEFINED, InputDatasetState.TOUPDATE, InputDatasetState.PENDING):
        says += f"; it is still looked up ({master.status})"
        says += f": {row.error_dialog}" if row.error_dialog and not passes else ""
    if n_ready and row.status in NO_NEW_JOBS:
        says += f"; no more jobs are made of a {row.status} task"
    per_job = row.split_rule.get("nFilesPerJob") or 1
    if 0 < n_ready < per_job and master.status == InputDatasetState.TOUPDATE:
        missing = per_job - n_ready
        gates.append(GateCount("enough for a job", n_ready, 0, master.dataset_name, f"{missing} more files"))
        says += f"; {missing} more for a job of {per_job}, which its parent is to make"
        return Step("inputs", says, False, gates), 0
    return Step("inputs", says, passes, gates), n_ready
