"""What gates look at: the situation of one round, and each queue with all that concerns it, worked out once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.gates import Refusal
from ...core.queue_keys import catchall_words
from ...core.states import JobState
from ...core.tagging import ResourceType, narrowest
from ...core.tunables import Numbers, tunable
from ..contracts import QueueView, StorageView, TaskView
from ..grid import Activity, Amount, Grid, Link, Work
from .needs import APP, BYTES_PER_MB, COMPONENT, Needs

BOOTSTRAP_SLOTS = tunable(
    APP, COMPONENT, "BOOTSTRAP_SLOTS", 20, unit="jobs", source="manual ch. 12.1: min(nBatchJob, 20) if R < 20"
)
#: What CRIC has under `capability` of unified queues, a word in `catchall` of older ones, and the type without either.
UCORE, UNIFIED_WORD, UNIFIED_TYPE = "ucore", "unifiedPandaQueue", "unified"
_WAITING = "whose files on a link count, where they are known by activity"
OUTPUTS = tunable(
    APP,
    COMPONENT,
    "NW_ACTIVITY",
    "Production Output",
    unit="activity",
    source="manual ch. 12.1.2: outputs go to the nucleus; the name is that of the Network Weather Service",
    help=_WAITING,
)
URGENT_OUTPUTS = tunable(
    APP, COMPONENT, "NW_URGENT_ACTIVITY", "Express", unit="activity", source="as NW_ACTIVITY", help=_WAITING
)
_NO_ACTIVITY = Activity()
_NO_AMOUNT = Amount()


@dataclass(frozen=True)
class Remedy(Refusal):
    """A refusal whose change can be made: `edits` has what to set, in the words of the scenarios.

    `{"maxrss": 4000}` is of the queue; others are named with their noun: `task.priority`, `link.blocked`,
    `storage.free_gb`, `setting.NQUEUED_SAT_CAP`, `jobs.transferring`. Empty: nothing that can be set would help.
    """

    edits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """The task and the grid in one round.

    `nucleus_site` is where its outputs are aggregated, if that is fixed; `kind` is the resource type of which it needs
    a pseudo-queue, where it goes to a unified queue. `activity` is what its outputs are moved for, `queued_to_nucleus`
    how many outputs of all are on their way to the nucleus.
    """

    task: TaskView
    grid: Grid
    needs: Needs
    numbers: Numbers
    nucleus_site: str | None
    kind: ResourceType | None = None
    activity: str = ""
    queued_to_nucleus: int = 0

    @classmethod
    def of(cls, task: TaskView, grid: Grid) -> Situation:
        storage = grid.storages.get(task.nucleus) if task.nucleus else None
        nucleus_site = storage.site if storage else None
        needs = Needs.of(task, grid.inputs, grid.numbers)
        kind = narrowest(grid.resource_types, needs.cores, math.ceil(needs.memory_mb))
        usual, urgent = grid.numbers(OUTPUTS), grid.numbers(URGENT_OUTPUTS)
        incoming = [link for link in grid.links.values() if link.destination == nucleus_site]
        return cls(
            task,
            grid,
            needs,
            grid.numbers,
            nucleus_site,
            kind,
            activity=urgent if needs.urgent else usual,
            queued_to_nucleus=sum(link.queued_for(*{usual, urgent}) for link in incoming),
        )

    @property
    def work(self) -> Work:
        return self.grid.work

    @property
    def preassigned(self) -> tuple[str, ...]:
        return tuple(self.grid.preassigned)


@dataclass(slots=True)
class Candidate:
    """A queue with what concerns it now. `running` is the number that the weight takes for running jobs;
    `assigned` leaves out jobs that wait for data when the inputs are here already (manual ch. 12.1)."""

    view: QueueView
    name: str
    attributes: Mapping[str, Any]
    activity: Activity
    storage: StorageView | None
    link: Link | None
    at_nucleus: bool
    cores: int
    is_unified: bool
    running: int
    activated: int
    assigned: int
    starting: int
    defined: int
    missing: Amount
    available: Amount

    def number(self, key: str, default: float = 0.0) -> float:
        """A number among the attributes; what is absent or no number counts as the default."""
        return to_number(self.attributes.get(key), default)


def to_number(value: Any, default: float) -> float:
    """A number that may come as text, as CRIC has many."""
    try:
        number = value if isinstance(value, int | float) else float(value)
        return number if math.isfinite(number) else default
    except (TypeError, ValueError, OverflowError):
        return default


def candidate_of(at: Situation, queue: QueueView) -> Candidate:
    """Work out what concerns a queue."""
    grid = at.grid
    jobs, inputs = queue.jobs, grid.inputs
    activity = grid.activity.get(queue.queue, _NO_ACTIVITY)
    if inputs.are_anywhere:
        available, missing = inputs.total, _NO_AMOUNT
    else:
        available = inputs.at_sites.get(queue.site, _NO_AMOUNT)
        n_files, size = inputs.total.n_files - available.n_files, inputs.total.size_bytes - available.size_bytes
        missing = Amount(max(0, n_files), max(0, size)) if n_files > 0 else _NO_AMOUNT
    at_nucleus = queue.site == at.nucleus_site
    return Candidate(
        view=queue,
        name=queue.queue,
        attributes=queue.attributes,
        activity=activity,
        storage=grid.storages.get(queue.storage) if queue.storage else None,
        link=grid.links.get((queue.site, at.nucleus_site)) if at.nucleus_site and not at_nucleus else None,
        at_nucleus=at_nucleus,
        cores=max(1, queue.core_count),
        is_unified=is_unified(queue),
        running=slots_of(queue, activity, at.numbers),
        activated=jobs.get(JobState.ACTIVATED, 0),
        assigned=jobs.get(JobState.ASSIGNED, 0) if missing.n_files else 0,
        starting=jobs.get(JobState.STARTING, 0) + jobs.get(JobState.SENT, 0),
        defined=jobs.get(JobState.DEFINED, 0),
        missing=missing,
        available=available,
    )


def is_unified(queue: QueueView) -> bool:
    """Whether a queue cuts its slots as jobs ask: as `catchall` says, else `capability`, else its type."""
    if UNIFIED_WORD in catchall_words(str(queue.attributes.get("catchall") or "")):
        return True
    capability = queue.attributes.get("capability")
    return str(capability).strip().lower() == UCORE if capability else queue.type == UNIFIED_TYPE


def slots_of(queue: QueueView, activity: Activity, numbers: Numbers) -> int:
    """What counts as the number of running jobs: the largest of the numbers that manual ch. 12.1, step 3, lists.

    `numSlots` is PanDA's Harvester_Slots: a positive number is the slots to come, zero says that the starting jobs
    show them.
    """
    running = queue.jobs.get(JobState.RUNNING, 0)
    best, few = running, numbers(BOOTSTRAP_SLOTS)
    if running < few and activity.n_batch_workers > running:
        best = max(best, min(activity.n_batch_workers, few))
    n_slots = queue.attributes.get("numSlots")
    if n_slots is not None:
        slots = int(to_number(n_slots, -1))
        best = max(best, slots if slots > 0 else queue.jobs.get(JobState.STARTING, 0) if slots == 0 else 0)
    return best


def input_mb(amount: Amount) -> float:
    return amount.size_bytes / BYTES_PER_MB
