"""What goes into hooks and what comes out of them: plain, frozen data, so that a plugin is a function of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.errors import PluginFailed
from ..core.gates import GateCount
from ..core.settings import Settings
from ..core.states import TaskState
from ..core.tunables import Numbers

T = TypeVar("T")


def from_row(kind: type[T], row: sa.Row[Any], **more: Any) -> T:
    """A view of a database row: the attributes of `kind` that the row has."""
    places = _places(kind, row._fields)  # type: ignore[arg-type]
    found = {name: row[place] for name, place in places if name not in more}
    return kind(**found, **more)


@lru_cache(maxsize=256)
def _places(kind: type[Any], names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Which attributes a row with columns of these names has, and where."""
    attributes = {entry.name for entry in fields(kind)}
    return [(name, place) for place, name in enumerate(names) if name in attributes]


def _nobody(section: str, hook: str, vo: str, label: str, **data: Any) -> Any:
    raise PluginFailed(f"nobody answers {hook}: this plugin was made by itself")


@dataclass(frozen=True)
class PluginContext:
    """What a plugin may keep when it is made: the database, the clock, the settings, and whom to ask.

    `numbers(vo)` gives the settings of an organisation in the database as they are now: ask at each call of a hook.
    `ask(section, hook, vo, label, …)` asks the plugin that the configuration chooses for another hook.
    """

    engine: sa.Engine
    clock: Clock
    settings: Settings
    numbers: Callable[[str | None], Numbers]
    ask: Callable[..., Any] = _nobody


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task as plugins see it."""

    jeditaskid: int
    task_name: str
    user_name: str
    vo: str
    prod_source_label: str
    status: str
    processing_type: str | None
    working_group: str | None
    current_priority: int
    gshare: str
    resource_type: str
    site: str | None
    nucleus: str | None
    container_name: str | None
    core_count: int
    ram_count_mb: int
    work_disk_count_mb: int
    max_walltime_seconds: int
    max_attempt: int
    split_rule: Mapping[str, Any]
    campaign: str | None = None
    architecture: str | None = None
    # What sizes of jobs are reckoned from (manual ch. 13 and 15); 0 is unknown, except for the efficiency.
    ram_count_unit: str = "MBPerCore"
    base_ram_count_mb: int = 0
    cpu_time: float = 0.0  #: of an event, in its unit
    cpu_time_unit: str = "HS06sPerEvent"
    cpu_efficiency: float = 90.0  #: percent; 0: the time of a job does not scale with its events
    min_cpu_efficiency: float = 0.0
    base_walltime_seconds: int = 0
    out_disk_count_kb: int = 0  #: of an event
    out_disk_unit: str = "kB"
    io_intensity: int = 0  #: kB/s of a job
    disk_io: int = 0  #: kB/s of a job

    @property
    def named_sites(self) -> tuple[str, ...]:
        """The queues or sites that the user named, by `site` (with commas between several) or `includedSite`."""
        named = (self.site or "").split(",")
        return tuple(word for name in (*named, *(self.split_rule.get("includedSite") or ())) if (word := name.strip()))


@dataclass(frozen=True, kw_only=True)
class DatasetPlan:
    """A dataset that a refined task reads or writes: a row of `datasets` to be."""

    type: str
    dataset_name: str
    stream_name: str
    is_master: bool = False
    container_name: str | None = None
    scope: str | None = None
    lfn_template: str | None = None
    storage: str | None = None
    selection: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RefinedTask:
    """What a refiner makes of parameters: columns of the task, and its datasets."""

    columns: Mapping[str, Any]
    datasets: Sequence[DatasetPlan]


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """A dataset of a task as plugins see it."""

    datasetid: int
    jeditaskid: int
    type: str
    dataset_name: str
    stream_name: str
    scope: str | None
    selection: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """A page of a dataset's files: rows of `files` to be (lfn, url, size_bytes, checksum, guid, scope, n_events).

    `cursor` is where the next page begins; None says that this was the last.
    """

    files: Sequence[Mapping[str, Any]]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A queue as plugins see it. Limits of 0 are none. `jobs` counts its jobs: {state: n}."""

    queue: str
    site: str
    vo: str | None
    status: str
    state: str
    type: str
    core_count: int
    max_rss_mb: int
    max_wdir_mb: int
    max_time_seconds: int
    storage: str | None
    attributes: Mapping[str, Any]
    jobs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StorageView:
    """A storage as plugins see it."""

    storage: str
    site: str
    state: str
    free_bytes: int | None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A choice among candidates: the best first, and for each reason to pass over some, which ones.

    `changes` has for a reason the smallest change that would let one pass, and which one: {reason: (name, change)}.
    `weights` are those of the chosen. With `retry_seconds` a task for which nothing was chosen waits that long.
    `n_passed` is how many passed, if more than are chosen. `pseudo_queues` has for chosen unified queues what they
    stand for: {queue: pseudo-queue}.
    """

    chosen: Sequence[str]
    rejected: Mapping[str, Sequence[str]] = field(default_factory=dict)
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    retry_seconds: float | None = None
    n_passed: int | None = None
    pseudo_queues: Mapping[str, str] = field(default_factory=dict)

    def gates(self) -> list[GateCount]:
        """The reasons as gates: how many candidates came to each and went on. Each candidate has one reason at most."""
        n_in = (len(self.chosen) if self.n_passed is None else self.n_passed) + sum(map(len, self.rejected.values()))
        gates = []
        for reason, names in self.rejected.items():
            if names:
                example, change = self.changes.get(reason, (names[0], ""))
                gates.append(GateCount(reason, n_in, n_in - len(names), example, change))
                n_in -= len(names)
        return gates

    def why(self) -> dict[str, Any]:
        """The reasons as they are recorded: how many each removed, an example, and what would let it through."""
        reasons = {
            "chosen": list(self.chosen[:3]),
            "passed": len(self.chosen),
            "rejected": {reason: self._reason(reason, names) for reason, names in self.rejected.items() if names},
        }
        more = {"weights": self.weights, "pseudo_queues": self.pseudo_queues}
        best = {what: {name: of[name] for name in self.chosen[:3] if name in of} for what, of in more.items()}
        return {**reasons, **{what: some for what, some in best.items() if some}}

    def _reason(self, reason: str, names: Sequence[str]) -> dict[str, Any]:
        example, change = self.changes.get(reason, (names[0], ""))
        return {"count": len(names), "example": example, **({"change": change} if change else {})}


@dataclass(frozen=True)
class Throttle:
    """How many more jobs a task may have queued now, and why."""

    max_new_jobs: int
    why: str


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file that is ready to be given to a job."""

    fileid: int
    datasetid: int
    lfn: str
    scope: str | None
    guid: str | None
    url: str | None
    size_bytes: int
    checksum: str | None
    n_events: int | None
    attempt_nr: int
    failed_attempts: int
    first_event: int = 0  #: of a part of a file that is cut at event boundaries; `n_events` are those of the part


@dataclass(frozen=True)
class JobError:
    """One of the errors of a failed job; `source` is one of `sql.tables.ERROR_SOURCES`."""

    source: str
    code: int
    diag: str


@dataclass(frozen=True)
class FailedJob:
    """A failed job, for the retry plugin: what went wrong, what it asked for, what it used, and of what task it is.

    What is 0 was not asked for, or is not known.
    """

    pandaid: int
    jeditaskid: int
    vo: str
    prod_source_label: str
    attempt_nr: int
    errors: tuple[JobError, ...]
    trans_exit_code: int | None = None
    core_count: int = 1
    min_ram_count_mb: int = 0
    used_ram_mb: int = 0
    max_walltime_seconds: int = 0
    used_walltime_seconds: int = 0
    n_input_files: int = 0  #: of the main input
    architecture: str | None = None
    release: str | None = None
    work_queues: tuple[str, ...] = ()  #: the number and the name of the task's work queue


@dataclass(frozen=True)
class RetryDecision:
    """Whether the inputs of a failed job may be tried again, and the reason that is recorded.

    `max_attempt` lowers how often they are tried in all; the other numbers are what their next jobs ask for at least
    (memory of the job in MB, wall time in seconds) or take at most (files). None and 0 leave things as they are.
    Inputs with fewer than `free_attempts` failures that did not count are not charged this one either; 0 charges all.
    `rules` fired; `passive` are those that would have.
    """

    retry: bool
    why: str
    max_attempt: int | None = None
    ram_count_mb: int = 0
    max_walltime_seconds: int = 0
    max_files_per_job: int = 0
    rules: tuple[str, ...] = ()
    passive: tuple[str, ...] = ()
    free_attempts: int = 0


@dataclass(frozen=True)
class Tally:
    """The inputs of a task that is over: how many there were, and how many were processed.

    `n_partial` of those that failed were processed in part: outputs have some of their events.
    """

    n_files: int
    n_finished: int
    n_failed: int
    n_partial: int = 0


@dataclass(frozen=True)
class Ending:
    """How and when a task ended, for whoever is to be told. `wanted` is False when the user asked for no mail."""

    state: TaskState
    why: str
    at: datetime
    tally: Tally
    wanted: bool = True


@dataclass(frozen=True)
class StoredFile:
    """A file that a job has made and nobody needs any more. `row_id` is its name in `job_files`."""

    row_id: int
    dataset_name: str
    lfn: str
    url: str


@dataclass(frozen=True)
class Mission:
    """One watchdog's errand: the tasks that it is for, and the name that the configuration gives it (manual ch. 21).

    Empty sets mean every organisation, and every activity.
    """

    name: str
    vos: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    period_seconds: float | None = None  #: none: whenever watchdogs have their turn


@dataclass(frozen=True)
class Replica:
    """What a storage has of a dataset."""

    storage: str
    n_files: int
    size_bytes: int


@dataclass(frozen=True)
class Verdict:
    """The state in which a task ends, and the reason that is recorded."""

    state: TaskState
    why: str
