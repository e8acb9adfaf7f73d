"""Edits of queues that operators try: the grid before and after them, in a transaction that is undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.grid_documents import GridKind
from ..core.settings import ConfiguratorSection, Settings
from ..daemon.grid_sources import configured
from ..jedi.planning import Ask, Effects, OpenTask, QueuedJobs, effects
from ..plugins.contracts import Choice, QueueView, TaskView, from_row
from ..plugins.grid import Grid
from ..plugins.grid_reader import read_grid
from ..plugins.manager import Plugins
from ..sql import counts, open_work, queues

Edit = Callable[[sa.Connection], object]


@dataclass(frozen=True)
class Trial:
    """What an edit would change, and what that would do."""

    before: Mapping[str, QueueView]
    after: Mapping[str, QueueView]
    effects: Effects
    brokers: Mapping[str, int]  #: the job brokers that were asked, with the number of tasks


def sources_of(section: ConfiguratorSection, given: Mapping[GridKind, str | None]) -> dict[GridKind, str]:
    """The sources that were named, in the order in which kinds are taken over; if none was, the configured ones."""
    return {kind: source for kind, source in given.items() if source} or configured(section)


def try_edit(engine: sa.Engine, clock: Clock, settings: Settings, edit: Edit) -> Trial:
    """Ask the job brokers about the work that is there, with and without an edit. Nothing is kept of it."""
    with engine.connect() as tx:
        before = _views(tx)
        work, grids = _work(tx, clock)
        edit(tx)
        after = _views(tx)
        tx.rollback()
    plugins = Plugins(settings, engine, clock)
    asked = Counter(plugins.asked("jobbroker", "choose_queue", one.task.vo, one.task.prod_source_label) for one in work)
    return Trial(before, after, effects(_ask(plugins, grids), work, before, after), asked)


def _ask(plugins: Plugins, grids: Mapping[int, Grid]) -> Ask:
    def _choose(task: TaskView, candidates: Sequence[QueueView]) -> Choice:
        asked = {"task": task, "queues": candidates, "grid": grids[task.jeditaskid]}
        choice: Choice = plugins.first("jobbroker", "choose_queue", task.vo, task.prod_source_label, **asked)
        return choice

    return _choose


def _views(tx: sa.Connection) -> dict[str, QueueView]:
    queued = counts.by_queue(tx)
    rows = queues.list_queues(tx)
    return {row.queue: from_row(QueueView, row, jobs=queued.get(row.queue, {})) for row in rows}


def _work(tx: sa.Connection, clock: Clock) -> tuple[list[OpenTask], dict[int, Grid]]:
    """The open tasks that have work for queues, and the grid as the broker sees it for each."""
    waiting: dict[int, list[QueuedJobs]] = {}
    for row in open_work.waiting_jobs(tx):
        jobs = QueuedJobs(
            row.queue, row.n_jobs, row.example, row.core_count, row.min_ram_count_mb, row.max_walltime_seconds
        )
        waiting.setdefault(row.jeditaskid, []).append(jobs)
    rows = [row for row in open_work.open_tasks(tx) if row.n_files_left > 0 or row.jeditaskid in waiting]
    work = [OpenTask(from_row(TaskView, row), waiting.get(row.jeditaskid, ()), int(row.n_files_left)) for row in rows]
    return work, {row.jeditaskid: read_grid(tx, row, now=clock()) for row in rows}
