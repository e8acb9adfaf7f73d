"""The grid as brokers see it: one frozen snapshot that the agents read once for each task and round.

What is not in it is not known, and what is not known keeps no queue out: a small setup has no links, no published
software and no batch workers, and is brokered all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ..core.tagging import ResourceType
from ..core.tunables import Numbers
from .contracts import StorageView


class Work(StrEnum):
    """What kind of jobs a queue is wanted for."""

    RUN = "run"
    SCOUT = "scout"
    MERGE = "merge"


@dataclass(frozen=True, kw_only=True)
class Link:
    """The way of files from one site to another.

    `closeness` runs from 0 (nearest) to 11; `mbps` is the throughput of the last hour, else day, else week, in megabits
    a second; `blocked` says why nothing may be sent. None: nobody has said. `queued` has the files that wait by
    activity, and `queued_files` is their number where that is not known.
    """

    source: str
    destination: str
    closeness: int | None = None
    mbps: float | None = None
    queued_files: int = 0
    blocked: str | None = None
    queued: Mapping[str, int] | None = None

    def queued_for(self, *activities: str) -> int:
        """How many files wait that are moved for such activities."""
        return sum(self.queued.get(one, 0) for one in activities) if self.queued else self.queued_files


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a queue is doing. Moments are None when they are not known; disk I/O is the mean of its running jobs."""

    last_pilot_at: datetime | None = None
    last_start_at: datetime | None = None
    n_batch_workers: int = 0
    disk_io_kbps_per_core: float | None = None


@dataclass(frozen=True)
class Amount:
    """A number of files and their size together."""

    n_files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class Beside:
    """What a job gets of the secondary streams beside its main inputs: bytes for itself, and for each main input."""

    job_bytes: float = 0.0
    file_bytes: float = 0.0

    def of(self, n_files: float) -> float:
        """The bytes for a job with so many main inputs."""
        return self.job_bytes + self.file_bytes * n_files


NOTHING_BESIDE = Beside()


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of the jobs that are brokered now, and how much of them each site has: {site: amount}.

    With `are_anywhere` the files are not at sites at all (pseudo inputs, files of the web): nothing is ever missing.
    These are the main inputs; `beside` is the size of the others.
    """

    total: Amount = Amount()
    n_events: int = 0
    at_sites: Mapping[str, Amount] = field(default_factory=dict)
    are_anywhere: bool = False
    beside: Beside = NOTHING_BESIDE


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The state of the grid for one task at one moment.

    `resource_types` are those that tasks are tagged with (manual ch. 5.5.4); none: unified queues are as they are.
    `links` are by (source site, destination site); `activity` and `software` by queue; `storages` by name;
    `backlog_files` says for each storage how many inputs the tasks still have whose nucleus it is. `preassigned` are
    the queues that these jobs are tied to, `passed_over_since` since when none of them has been chosen.
    """

    now: datetime
    numbers: Numbers = field(default_factory=Numbers)
    work: Work = Work.RUN
    resource_types: Sequence[ResourceType] = ()
    preassigned: Sequence[str] = ()
    passed_over_since: datetime | None = None
    links: Mapping[tuple[str, str], Link] = field(default_factory=dict)
    storages: Mapping[str, StorageView] = field(default_factory=dict)
    activity: Mapping[str, Activity] = field(default_factory=dict)
    software: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)
    backlog_files: Mapping[str, int] = field(default_factory=dict)
