"""Partitions of the Job Generator: a global share and a resource type, each limited by itself (manual ch. 7.1.2, 14.3).

A partition is throttled when it has enough queued jobs for what it runs, so that no share fills the queues of others,
and each has enough jobs for the dispatcher to choose from (ch. 14.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .gates import Gate, Passage, Refusal, pass_through
from .tunables import Numbers, tunable

_CHOICE = "our choice: the manual (ch. 7.1.2) says `enough jobs running or queued` without figures"

#: Jobs that a partition may have queued however few it runs; with the name of a share, that share's own figure.
QUEUED_MIN = tunable("jedi", "jobthrottle", "PARTITION_QUEUED_MIN_", 5_000, unit="jobs", source=_CHOICE)
#: Jobs that it may have queued for each that it runs.
QUEUED_PER_RUNNING = tunable(
    "jedi", "jobthrottle", "PARTITION_QUEUED_PER_RUNNING_", 3.0, unit="jobs per running job", source=_CHOICE
)
#: Jobs that it may never exceed.
QUEUED_MAX = tunable("jedi", "jobthrottle", "PARTITION_QUEUED_MAX_", 200_000, unit="jobs", source=_CHOICE)


@dataclass(frozen=True, order=True)
class Partition:
    """The tasks of one share and resource type."""

    gshare: str
    resource_type: str

    def __str__(self) -> str:
        return f"{self.gshare}/{self.resource_type}"


@dataclass(frozen=True)
class Load:
    """The jobs of a partition."""

    queued: int = 0
    running: int = 0


@dataclass(frozen=True)
class Limit:
    """A partition, its jobs, and how many it may have queued."""

    partition: Partition
    load: Load
    numbers: Numbers

    @property
    def most(self) -> int:
        share = self.partition.gshare
        by_running = round(self.numbers(QUEUED_PER_RUNNING, share) * self.load.running)
        return min(self.numbers(QUEUED_MAX, share), max(self.numbers(QUEUED_MIN, share), by_running))

    @property
    def room(self) -> int:
        """How many more jobs may be queued."""
        return max(0, self.most - self.load.queued)


def _below_limit(situation: None, limit: Limit) -> Refusal | None:
    if limit.room > 0:
        return None
    over = limit.load.queued - limit.most + 1
    return Refusal(f"{over} fewer queued jobs, or {QUEUED_MIN.key}{limit.partition.gshare} above {limit.most}", over)


GATES: Sequence[Gate[None, Limit]] = (Gate("enough queued for what it runs", _below_limit, "manual ch. 7.1.2"),)


def throttled(limit: Limit) -> Passage[Limit]:
    """Send a partition through the gates of the throttler."""
    return pass_through(GATES, None, [limit], lambda one: str(one.partition))
