"""What a task waits for beside queues and pilots: its parent, its library, or the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.gates import GateCount
from ...core.states import TASKS, InputDatasetState, TaskState
from ...core.why import Step
from ...sql import builds, datasets, parents
from ...sql import tasks as tasks_sql

#: States from which on a task makes jobs.
_MAKING = (TaskState.READY, TaskState.SCOUTING, TaskState.SCOUTED, TaskState.RUNNING, TaskState.THROTTLED)


def asleep(state: Step, row: sa.Row[Any], now: datetime) -> Step:
    """The step of the state of a task that nobody else stops: it stops the task that is left alone for a while."""
    until = row.next_round_at
    if row.status not in (TaskState.PENDING, TaskState.THROTTLED) or until is None or until <= now:
        return state
    says = f"{row.status} until {until:%Y-%m-%d %H:%M:%S} UTC; `bamboo task retry {row.jeditaskid}` has it looked at"
    return replace(state, says=f"{says}; {state.says}", passes=False)


def parent_step(tx: sa.Connection, row: sa.Row[Any]) -> list[Step]:
    """The parent of a task, and whether the task waits for it to end; nothing without one."""
    if row.parent_tid is None or row.status in TASKS.final:
        return []
    parent = tasks_sql.get_task(tx, row.parent_tid)
    says = f"task {parent.jeditaskid} ({parent.task_name}) is {parent.status}"
    more = {"parent": parent.jeditaskid, "parent_status": parent.status}
    if parent.status in parents.OVER:
        return [Step("parent", says, more=more)]
    master = next((one for one in datasets.inputs(tx, row.jeditaskid) if one.is_master), None)
    if master is not None and (master.next_lookup_at is not None or master.status == InputDatasetState.READY):
        return [Step("parent", f"{says}: its outputs are read as they are made", more=more)]
    return [Step("parent", f"{says}: the task waits for its end", False, more=more)]


def library_step(tx: sa.Connection, row: sa.Row[Any]) -> list[Step]:
    """Whether the library of a task is ready anywhere; nothing for a task that has nothing to build."""
    at_work = row.old_status if row.status == TaskState.PENDING else row.status
    if at_work not in _MAKING or not tasks_sql.get_parameters(tx, row.jeditaskid).get("buildSpec"):
        return []
    found = builds.libraries(tx, row.jeditaskid)
    ready = sorted(queue for queue, one in found.items() if one.file is not None)
    building = sorted(queue for queue, one in found.items() if one.building)
    if ready or not found:
        return [Step("library", f"it is ready at {', '.join(ready)}" if ready else "no build job is made yet")]
    says = f"it is being built at {', '.join(building)}" if building else "its build jobs have failed"
    change = "a build job that has finished"
    return [Step("library", says, False, [GateCount("ready", len(found), 0, next(iter(found)), change)])]
