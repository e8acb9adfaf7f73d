"""Partitions of the Job Generator: each has its own tasks, one agent at a time, and a limit by itself.

A partition is a global share and a resource type (manual ch. 7.1.2, 14.3). It is throttled when it has enough queued
jobs for what it runs, so that no share fills the queues of others, and each has enough jobs for the dispatcher to
choose from (ch. 14.4).

Work queues are parallel pipes beside the shares (ch. 8.3.1), for what is special or needs a resource of its own (ch.
5.5.2); how the two go together the manual leaves open. Here a work queue is a tag, unless the settings give it a limit
(`WORK_QUEUE_QUEUED_MAX_<name>`): then it is one partition, with all its tasks of whatever share and resource type, and
neither its tasks nor its jobs count for the partitions of shares. Dispatch goes by shares alone in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .gates import Gate, Passage, Refusal, pass_through
from .tunables import Numbers, Tunable, tunable

_CHOICE = "our choice: the manual (ch. 7.1.2) says `enough jobs running or queued` without figures"

#: Jobs that a partition may have queued however few it runs; with the name of a share, that share's own figure.
QUEUED_MIN = tunable("jedi", "jobthrottle", "PARTITION_QUEUED_MIN_", 5_000, unit="jobs", source=_CHOICE)
#: Jobs that it may have queued for each that it runs.
QUEUED_PER_RUNNING = tunable(
    "jedi", "jobthrottle", "PARTITION_QUEUED_PER_RUNNING_", 3.0, unit="jobs per running job", source=_CHOICE
)
#: Jobs that it may never exceed.
QUEUED_MAX = tunable("jedi", "jobthrottle", "PARTITION_QUEUED_MAX_", 200_000, unit="jobs", source=_CHOICE)

#: The same for a work queue, by its name. It is a partition only when it may have some jobs queued.
WORK_QUEUE_QUEUED_MIN = tunable("jedi", "jobthrottle", "WORK_QUEUE_QUEUED_MIN_", 5_000, unit="jobs", source=_CHOICE)
WORK_QUEUE_QUEUED_PER_RUNNING = tunable(
    "jedi", "jobthrottle", "WORK_QUEUE_QUEUED_PER_RUNNING_", 3.0, unit="jobs per running job", source=_CHOICE
)
WORK_QUEUE_QUEUED_MAX = tunable(
    "jedi",
    "jobthrottle",
    "WORK_QUEUE_QUEUED_MAX_",
    0,
    unit="jobs",
    source="our choice: a work queue is a tag until somebody gives it a limit (manual ch. 5.5.2)",
    help="0: the work queue is no partition of its own, and its tasks are in those of their shares.",
)
#: What the names of partitions' leases begin with.
LEASE_PREFIX = "job_generator "
#: Work queues that are partitions: {id: name}.
Limited = Mapping[int, str]


@dataclass(frozen=True, order=True)
class Partition:
    """The tasks of one share and resource type, or of the one work queue that is named."""

    gshare: str
    resource_type: str
    work_queue: str = ""

    def __str__(self) -> str:
        return f"work queue {self.work_queue}" if self.work_queue else f"{self.gshare}/{self.resource_type}"

    @property
    def lease_name(self) -> str:
        """The named lease under which an agent holds it."""
        return f"{LEASE_PREFIX}{self}"


def limited(queues: Mapping[int, str], numbers: Numbers) -> dict[int, str]:
    """Those of the work queues, {id: name}, that are partitions."""
    return {number: name for number, name in queues.items() if numbers(WORK_QUEUE_QUEUED_MAX, name) > 0}


def partition_of(gshare: str, resource_type: str, work_queue_id: int | None, own: Limited) -> Partition:
    """The partition of a task with these tags."""
    name = own.get(work_queue_id) if work_queue_id is not None else None
    return Partition("", "", name) if name is not None else Partition(gshare, resource_type)


@dataclass(frozen=True)
class Load:
    """The jobs of a partition."""

    queued: int = 0
    running: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.queued + other.queued, self.running + other.running)


@dataclass(frozen=True)
class Limit:
    """A partition, its jobs, and how many it may have queued."""

    partition: Partition
    load: Load
    numbers: Numbers

    @property
    def _keys(self) -> tuple[Tunable[int], Tunable[float], Tunable[int]]:
        if self.partition.work_queue:
            return WORK_QUEUE_QUEUED_MIN, WORK_QUEUE_QUEUED_PER_RUNNING, WORK_QUEUE_QUEUED_MAX
        return QUEUED_MIN, QUEUED_PER_RUNNING, QUEUED_MAX

    @property
    def _name(self) -> str:
        """Whose figures hold."""
        return self.partition.work_queue or self.partition.gshare

    @property
    def most(self) -> int:
        least, per_running, most = self._keys
        by_running = round(self.numbers(per_running, self._name) * self.load.running)
        return min(self.numbers(most, self._name), max(self.numbers(least, self._name), by_running))

    @property
    def to_raise(self) -> str:
        """The setting that has to be larger for more: the largest number where that is what holds."""
        least, _, most = self._keys
        return (most if self.numbers(most, self._name) <= self.most else least).key + self._name

    @property
    def room(self) -> int:
        """How many more jobs may be queued."""
        return max(0, self.most - self.load.queued)


def _below_limit(situation: None, limit: Limit) -> Refusal | None:
    if limit.room > 0:
        return None
    over = limit.load.queued - limit.most + 1
    return Refusal(f"{over} fewer queued jobs, or {limit.to_raise} above {limit.most}", over)


GATES: Sequence[Gate[None, Limit]] = (Gate("enough queued for what it runs", _below_limit, "manual ch. 7.1.2"),)


def throttled(limit: Limit) -> Passage[Limit]:
    """Send a partition through the gates of the throttler."""
    return pass_through(GATES, None, [limit], lambda one: str(one.partition))
