"""Which tasks begin with scouts, how many, and how much they read (manual ch. 2.6 and 15)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ..core.states import TaskState
from ..core.tunables import Numbers, tunable
from ..sql import scouts
from ..sql.tasks import SUSPENDED
from .capacity import PERCENT
from .contracts import TaskView

APP, COMPONENT = "jedi", "scouts"

N_SCOUTS = tunable(
    APP, COMPONENT, "SCOUT_N_JOBS", 10, unit="jobs", source="manual ch. 2.6: a small number; what PanDA makes",
    help="0: no task scouts",
)  # fmt: skip
MAX_PORTION = tunable(
    APP, COMPONENT, "SCOUT_MAX_PORTION", 10.0, unit="percent of the inputs", most=PERCENT,
    source="manual ch. 2.6: a small portion of the input; ours",
    help="a task whose scouts would read more does not scout: the others are not worth the wait",
)  # fmt: skip
N_AVALANCHED = tunable(
    APP, COMPONENT, "SCOUT_N_AVALANCHED", 100, unit="finished jobs", source="manual ch. 15",
    help="after which the figures are reckoned again",
)  # fmt: skip


@dataclass(frozen=True)
class Scouting:
    """Scouts that a task begins with, and how many are still to be made; None when it does not scout (any more)."""

    n_scouts: int
    left: int | None


NO_SCOUTS = Scouting(0, None)


def scouting(
    tx: sa.Connection, row: sa.Row[Any], task: TaskView, master: sa.Row[Any] | None, numbers: Numbers
) -> Scouting:
    """Whether the next jobs of the task of a row are scouts; `master` is its main input dataset."""
    if row.n_scouts is None and (row.old_status if row.status in SUSPENDED else row.status) != TaskState.READY:
        return NO_SCOUTS  # it had jobs before there were scouts
    if row.n_scouts is None:
        n_inputs = master.n_files - master.n_files_used - master.n_files_missing if master else 0
        n_scouts = scouts_for(task, n_inputs, numbers)
        return Scouting(n_scouts, n_scouts or None)
    if row.n_scouts == 0 or row.optimisation_stage > 0:
        return Scouting(row.n_scouts, None)
    census = scouts.census(tx, row)
    still_allowed = row.n_scouts * row.max_attempt - census.made
    return Scouting(row.n_scouts, max(0, min(row.n_scouts - census.made + census.fruitless, still_allowed)))


def scouts_for(task: TaskView, n_inputs: int, numbers: Numbers) -> int:
    """How many scouts a task begins with that has so many inputs left: as many as are set, or none.

    None where the user says so (`skipScout`), and where they would read more than a small portion of the inputs.
    Numbers that a task runs over in place of inputs are inputs too.
    """
    n_scouts = numbers(N_SCOUTS)
    read = n_scouts * int(portion(task).split_rule["nFilesPerJob"])
    few = read * PERCENT > n_inputs * numbers(MAX_PORTION)
    return 0 if task.split_rule.get("skipScout") or few else n_scouts


def portion(task: TaskView) -> TaskView:
    """The task as its scouts are cut: with as many files as the user asks for, else with one."""
    n_files = task.split_rule.get("nFilesPerJob") or 1
    return replace(task, split_rule={**task.split_rule, "nFilesPerJob": n_files})
