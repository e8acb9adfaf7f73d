"""The hooks: where an organisation's own rules go. `docs/plugins.md` has a page for each.

Every hook is called for one task, dataset or job at a time, and an error in it concerns that one only. Raise
`Invalid` for input that can never work, `Retriable` for a passing problem; anything else counts as a bug of the
plugin and holds the task as `pending` with the reason. Return None to leave the answer to the next plugin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pluggy
import sqlalchemy as sa

from ..sql.accounting import MadeFile
from .contracts import (
    Choice,
    Contents,
    DatasetView,
    Ending,
    FailedJob,
    InputFile,
    Mission,
    QueueView,
    RefinedTask,
    Replica,
    RetryDecision,
    StorageView,
    StoredFile,
    Tally,
    TaskView,
    Throttle,
    Verdict,
)
from .grid import Grid

PROJECT = "bamboo"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def refine_task(parameters: Mapping[str, Any], user_name: str) -> RefinedTask | None:
    """Make a task of submitted parameters (Task Refiner; section `taskrefine`). Outside any transaction."""


@hookspec(firstresult=True)
def list_contents(dataset: DatasetView, cursor: str, limit: int) -> Contents | None:
    """Give a page of an input dataset's files after `cursor` (Contents Feeder; section `ddm`). Outside any transaction.

    Must give the same order each time, as the Contents Feeder goes on from the cursor after an interruption.
    """


@hookspec(firstresult=True)
def locate_replicas(dataset: DatasetView) -> Sequence[Replica] | None:
    """Say which storages hold files of an input dataset (Data Locality Updater; section `ddm`).

    Outside any transaction. Raise `NotFound` for a dataset that the catalogue does not have.
    """


@hookspec(firstresult=True)
def choose_nucleus(task: TaskView, storages: Sequence[StorageView], grid: Grid) -> Choice | None:
    """Rank storages for the outputs of a task (Task Broker; section `taskbroker`). Outside any transaction."""


@hookspec(firstresult=True)
def choose_queue(task: TaskView, queues: Sequence[QueueView], grid: Grid) -> Choice | None:
    """Rank queues for the next jobs of a task (Job Broker; section `jobbroker`). Outside any transaction."""


@hookspec(firstresult=True)
def throttle(task: TaskView, queues: Sequence[QueueView]) -> Throttle | None:
    """Limit the jobs that a task may have queued (Job Throttler; section `jobthrottle`). Outside any transaction."""


@hookspec(firstresult=True)
def split_inputs(
    task: TaskView, files: Sequence[InputFile], queue: QueueView, complete: bool
) -> Sequence[Sequence[InputFile]] | None:
    """Cut ready inputs into jobs for a queue (Job Splitter; section `jobsplitter`). Outside any transaction.

    Files may be left over, but only if more are to come: with `complete` all have to be in a job.
    """


@hookspec(firstresult=True)
def setup_outputs(tx: sa.Connection, task: TaskView, datasets: Sequence[DatasetView], now: datetime) -> int | None:
    """Prepare the output datasets of a task before its first jobs (Task Setupper; section `tasksetup`).

    Inside the transaction that submits the jobs: what is written on `tx` takes effect with them. Returns how many.
    """


@hookspec(firstresult=True)
def register_outputs(tx: sa.Connection, made: Sequence[MadeFile], user_name: str, now: datetime) -> int | None:
    """Register the outputs of finished jobs (adder; section `adder`).

    Inside the transaction that finishes the attempts; what is written elsewhere must bear repetition. Returns how
    many were registered.
    """


@hookspec(firstresult=True)
def discard_files(files: Sequence[StoredFile]) -> Collection[int] | None:
    """Remove intermediate files that were merged, or never will be (chore `cleaner`; section `adder`).

    From the storage and from the catalogue; outside any transaction; must bear repetition. Returns the `row_id`s of
    those that are gone; the others are given again with the next run.
    """


@hookspec(firstresult=True)
def retry_input(failure: FailedJob) -> RetryDecision | None:
    """Say whether the inputs of a failed job may be tried again (job retry module, manual ch. 20; section `retry`).

    Inside the transaction that books the failure; keep it quick. The number of attempts is limited all the same.
    """


@hookspec(firstresult=True)
def post_process(task: TaskView, tally: Tally) -> Verdict | None:
    """Say in which state a task ends whose inputs are all accounted for (Post Processor; section `postprocessor`).

    Outside any transaction; must bear repetition.
    """


@hookspec(firstresult=True)
def notify(task: TaskView, ending: Ending) -> str | None:
    """Tell the user of a task how it ended (Watch Dog; section `notify`); return in words what was done.

    Outside any transaction; called once for each end, and again, later and later, when it raises an error.
    """


@hookspec
def watch(now: datetime, mission: Mission) -> Mapping[str, int] | None:
    """Do one round of a watchdog's mission (manual ch. 21; section `watchdog`) and return what it did, as counts.

    Outside any transaction; every registered plugin is called, by one machine at a time. One that takes `mission` is
    called for each of its `modConfig` entries, with the tasks it is for, and at the period that `procConfig` says.
    """


@hookspec
def pilot_copytools() -> Sequence[Path] | None:
    """Name further copy tools: Python files that `bamboo pilot build` puts into the pilot. See docs/plugins.md."""
