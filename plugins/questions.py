"""What throttlers and job brokers are asked about a task: read and put in one place, for who decides and who explains.

The Job Generator asks before it makes jobs; `bamboo why` asks the same plugins the same question, or a changed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..sql import counts, datasets, queues, retries
from ..sql import grid as grid_sql
from .contracts import Choice, QueueView, StorageView, TaskView, Throttle, from_row
from .grid import Grid, Work
from .grid_reader import read_grid
from .manager import Plugins
from .retried import raised
from .scouting import NO_SCOUTS, Scouting, scouting


@dataclass(frozen=True)
class Question:
    """A task, the queues, and the grid as it is for that task. `needsid` are the inputs that the next jobs are for.

    The task is raised to what these inputs need (`sql.retries`). `then` is the question about the inputs after them,
    which need otherwise.
    """

    task: TaskView
    queues: Sequence[QueueView]
    grid: Grid
    needsid: int | None = None
    scouting: Scouting = NO_SCOUTS
    then: Question | None = None

    def settled(self, plugins: Plugins) -> tuple[Question, Choice]:
        """The first of the questions that a queue answers, with its answer; this one where none does."""
        first = choice = self.choose(plugins)
        asked: Question = self
        while not choice.chosen and asked.then is not None:
            asked = asked.then
            choice = asked.choose(plugins)
        return (asked, choice) if choice.chosen else (self, first)

    def throttle(self, plugins: Plugins) -> Throttle:
        """How many more jobs the task may have queued."""
        answer: Throttle = self._ask(plugins, "jobthrottle", "throttle", queues=self.queues)
        return answer

    def choose(self, plugins: Plugins) -> Choice:
        """To which queues its next jobs go."""
        answer: Choice = self._ask(plugins, "jobbroker", "choose_queue", queues=self.queues, grid=self.grid)
        return answer

    def _ask(self, plugins: Plugins, section: str, hook: str, **more: Any) -> Any:
        return plugins.first(section, hook, self.task.vo, self.task.prod_source_label, task=self.task, **more)


@dataclass(frozen=True)
class NucleusQuestion:
    """What the task broker is asked: where the outputs of a task are to go."""

    task: TaskView
    storages: Sequence[StorageView]
    grid: Grid

    def choose(self, plugins: Plugins) -> Choice:
        """The storages that can take them, the best first."""
        about: dict[str, Any] = {"task": self.task, "storages": self.storages, "grid": self.grid}
        vo, label = self.task.vo, self.task.prod_source_label
        choice: Choice = plugins.first("taskbroker", "choose_nucleus", vo, label, **about)
        return choice


def read_nucleus_question(tx: sa.Connection, row: sa.Row[Any], *, now: datetime) -> NucleusQuestion:
    """What would be asked about the nucleus of the task of a row now."""
    storages = [from_row(StorageView, storage) for storage in queues.list_storages(tx)]
    grid = read_grid(tx, row, now=now, backlog_files=grid_sql.backlog_files(tx))
    return NucleusQuestion(from_row(TaskView, row), storages, grid)


def read_question(tx: sa.Connection, row: sa.Row[Any], *, now: datetime, whole: bool = False) -> Question:
    """What would be asked about the task of a row now; with `whole` it may ask for other things than it does."""
    master = next((one for one in datasets.of_task(tx, row.jeditaskid) if one.is_master), None)
    turns = retries.needs_in_turn(tx, row.jeditaskid, master.datasetid) if master else [(None, retries.Needs())]
    queued = counts.by_queue(tx)
    known = [from_row(QueueView, queue, jobs=queued.get(queue.queue, {})) for queue in queues.list_queues(tx)]
    task = raised(from_row(TaskView, row), turns[0][1])
    grid = read_grid(tx, row, now=now, whole=whole)
    scouts = scouting(tx, row, task, master, grid.numbers)
    if scouts.left is not None:
        grid = replace(grid, work=Work.SCOUT)
    (needsid, _), *others = turns
    then: Question | None = None
    for other, needs in reversed(others):
        then = Question(raised(from_row(TaskView, row), needs), known, grid, other, scouts, then)
    return Question(task, known, grid, needsid, scouts, then)
