"""What becomes of tasks that stay in one state for too long (manual ch. 7.1: JEDI acts on timeout configurations)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.errors import Stale
from ...core.states import TaskState
from ...core.tunables import Tunable, tunable
from ...sql import parents, tasks
from ...sql.engine import reading
from ...sql.tables import tasks as tasks_table
from ..contracts import PluginContext
from ..hookspecs import hookimpl

PAGE = 100


@dataclass(frozen=True)
class Timeout:
    """One rule: where a task goes that nobody has moved for so many hours.

    The hours are the organisation's (for an activity, if `hours` has one with its name), or those of the cfg file.
    """

    state: TaskState
    hours: Tunable[float]
    cfg_key: str  #: in [timeouts]
    to: TaskState
    why: str
    unless: tuple[sa.ColumnElement[bool], ...] = ()


def _hours(state: str) -> Tunable[float]:
    return tunable(
        "jedi",
        "task_timeouts",
        f"HOURS_{state}_",
        0.0,
        unit="h",
        source="our choice: manual ch. 7.1 names no figures",
        help=f"How long a task may be {state}. One for each activity; 0: what the cfg file says in [timeouts].",
    )


#: In every other state an agent, a chore or a pilot moves the task on, or a timeout of its jobs (`docs/states.md`).
TIMEOUTS = (
    Timeout(
        TaskState.PENDING,
        _hours("pending"),
        "pending_task",
        TaskState.EXHAUSTED,
        "waited longer than {limit}: {reason}",
        unless=(parents.goes_on(),),  # a child may wait as long as its parent is at work
    ),
    Timeout(
        TaskState.EXHAUSTED,
        _hours("exhausted"),
        "exhausted_task",
        TaskState.FINISHING,
        "nobody decided within {limit}: {reason}",
    ),
)


class TaskTimeouts:
    """Exhausts tasks that have been `pending` for too long, as their owners have to decide.

    A task whose owner does not decide is finished: what was processed is kept.
    """

    def __init__(self, context: PluginContext) -> None:
        self._engine = context.engine
        self._numbers = context.numbers
        self._cfg = context.settings.timeouts

    @hookimpl
    def watch(self, now: datetime) -> Mapping[str, int] | None:
        given_up = sum(self._apply(rule, now) for rule in TIMEOUTS)
        return {"tasks_given_up": given_up} if given_up else {}

    def _apply(self, rule: Timeout, now: datetime) -> int:
        moved = 0
        with reading(self._engine) as tx:
            kinds = tasks.kinds_in(tx, rule.state)
        for vo, label in kinds:
            limit = timedelta(hours=self._numbers(vo)(rule.hours, label) or getattr(self._cfg, rule.cfg_key))
            its_kind = [tasks_table.c.vo == vo, tasks_table.c.prod_source_label == label]
            with self._engine.begin() as tx:
                rows = tasks.in_states(
                    tx,
                    [rule.state],
                    limit=PAGE,
                    changed_before=now - limit,
                    conditions=[*its_kind, *(~one for one in rule.unless)],
                )
                moved += sum(self._move(tx, rule, row, limit, now) for row in rows)
        return moved

    def _move(self, tx: sa.Connection, rule: Timeout, row: sa.Row[Any], limit: timedelta, now: datetime) -> bool:
        why = rule.why.format(limit=limit, reason=row.error_dialog or "no reason was left")
        try:
            tasks.move_task(tx, tasks.ref(row), rule.to, actor="watchdog", why=why, now=now)
        except Stale:
            return False  # it went on by itself
        return True
