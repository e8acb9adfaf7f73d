"""How much work fits into one job at a queue: the two inequalities of manual ch. 13, and the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import Fault, Invalid
from ..core.queue_keys import catchall_words
from ..core.tunables import Numbers, tunable
from .contracts import QueueView, TaskView

APP, COMPONENT = "jedi", "jobsplitter"
KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
PERCENT = 100.0
#: What the `m` before a unit of cpuTime stands for (manual ch. 15.1).
MILLI = 1e-3
FIXED = "Fixed"

CORE_POWER = tunable(
    APP, COMPONENT, "CORE_POWER_DEFAULT", 10.0, unit="HS06 per core", source="our choice: a core of about 2015",
    help="of queues that do not publish corepower", least=0.001,
)  # fmt: skip
MIN_OUTPUT_MB = tunable(
    APP, COMPONENT, "MIN_OUTPUT_MB", 512, unit="MB", source="manual ch. 13: max(0.5 GB, …)", help="of a job at least"
)


def core_power(attributes: Mapping[str, Any], numbers: Numbers) -> float:
    """HS06 of one core of a queue with such attributes: its `corepower`, or the default when it is not published."""
    try:
        published = float(attributes.get("corepower") or 0)
    except (TypeError, ValueError):
        published = 0.0
    return published if published > 0 else numbers(CORE_POWER)


#: The word of a queue's `catchall` that says how many events its jobs get where the task leaves that open.
SIM_EVENTS = "nSimEvents"


def n_sim_events(attributes: Mapping[str, Any]) -> int | None:
    """How many events a job gets at a queue if their number is dynamic; None: the queue takes no such jobs.

    Manual ch. 12.1 has "settings for … the dynamic number of events" without their names, which are PanDA's.
    """
    given = catchall_words(str(attributes.get("catchall") or "")).get(SIM_EVENTS, "")
    return int(given) if given.isdecimal() and int(given) else None


def events_per_job(rule: Mapping[str, Any]) -> int | None:
    """nEventsPerJob where the events of the files are known; numbers that a task runs over have none."""
    return int(rule["nEventsPerJob"]) if rule.get("useRealNumEvents") and rule.get("nEventsPerJob") else None


def check_events(files: Sequence[tuple[str, int | None]], most: int) -> None:
    """Raise `Invalid` for files, (name, events), that cannot be counted, or have more events than a job may get.

    Those of tasks that say where a job begins have been cut before (`jedi.event_parts`).
    """
    where = "task_parameters.nEventsPerJob"
    faults = []
    unknown = next((lfn for lfn, n_events in files if n_events is None), None)
    if unknown is not None:
        faults.append(Fault(where, f"the catalogue does not say how many events {unknown} has", "give nEventsPerFile"))
    n_events, lfn = max(((n_events or 0, lfn) for lfn, n_events in files), default=(0, ""))
    if n_events > most:
        what = f"{most} is less than {lfn} has, and a file is not cut into several jobs"
        faults.append(Fault(where, what, f"give at least {n_events}, or put ${{SKIPEVENTS}} into the command line"))
    if faults:
        raise Invalid("the inputs cannot be shared out by events", faults)


def in_hs06s(cpu_time: float, unit: str) -> float:
    """A cpuTime in HS06 seconds."""
    return cpu_time * (MILLI if unit.startswith("m") else 1.0)


@dataclass(frozen=True)
class Capacity:
    """What one job may hold; None is no limit.

    Disk: inputs + max(`min_output_bytes`, `output_bytes` * events) + `work_bytes` ≤ `disk_bytes`.
    Time: `seconds` * events + `base_seconds` ≤ `max_seconds`.
    """

    disk_bytes: int | None = None
    input_counts: bool = True  #: inputs lie on the scratch disk; not where they are read directly
    output_bytes: int = 0
    min_output_bytes: int = 0
    work_bytes: int = 0
    max_seconds: float | None = None
    seconds: float = 0.0
    base_seconds: float = 0.0

    def disk(self, input_bytes: int, n_events: int) -> int:
        """Bytes of scratch disk that a job over such inputs is expected to need."""
        output = max(self.min_output_bytes, self.output_bytes * n_events)
        return (input_bytes if self.input_counts else 0) + output + self.work_bytes

    def wall_time(self, n_events: int) -> float:
        """Seconds that a job over so many events is expected to take."""
        return self.seconds * n_events + self.base_seconds

    def holds(self, input_bytes: int, n_events: int) -> bool:
        """Whether a job over such inputs fits."""
        fits_disk = self.disk_bytes is None or self.disk(input_bytes, n_events) <= self.disk_bytes
        # A sum of many small numbers may miss a limit by a rounding error that is no second.
        fits_time = self.max_seconds is None or self.wall_time(n_events) <= self.max_seconds + 1e-6
        return fits_disk and fits_time


def scratch_mb(queue: QueueView, core_count: int) -> float:
    """The scratch disk, in MB, that a job of so many cores may use at a queue; 0 is no limit.

    Manual ch. 12.1: maxwdir is divided by the cores of the queue; a job has the share of its cores, all of it at most.
    """
    cores = max(1, queue.core_count)
    return queue.max_wdir_mb * min(max(1, core_count), cores) / cores


def at_queue(task: TaskView, queue: QueueView, numbers: Numbers) -> Capacity:
    """The limits of a queue for the jobs of a task that does not say how large they are to be (manual ch. 13).

    S ≥ inputDiskCount + max(0.5 GB, outDiskCount * nEvents) + workDiskCount, with S the job's share of maxwdir, and
    W ≥ cpuTime * nEvents / (C * P * cpuEfficiency) + baseTime, with W the smaller one of the queue's maxtime and the
    task's maxWalltime. cpuEfficiency 0 switches the scaling with events off (ch. 15.1).
    """
    limits = [seconds for seconds in (queue.max_time_seconds, task.max_walltime_seconds) if seconds > 0]
    scaling = task.cpu_efficiency > 0 and task.cpu_time > 0
    speed = max(1, task.core_count) * core_power(queue.attributes, numbers) * task.cpu_efficiency / PERCENT
    return Capacity(
        disk_bytes=math.floor(scratch_mb(queue, task.core_count) * MB) if queue.max_wdir_mb > 0 else None,
        input_counts=not reads_directly(task, queue),
        output_bytes=task.out_disk_count_kb * KB,
        min_output_bytes=numbers(MIN_OUTPUT_MB) * MB,
        work_bytes=task.work_disk_count_mb * MB,
        max_seconds=float(min(limits)) if limits and scaling else None,
        seconds=in_hs06s(task.cpu_time, task.cpu_time_unit) / speed if scaling else 0.0,
        base_seconds=float(task.base_walltime_seconds),
    )


def by_size(task: TaskView, n_gb_per_job: float) -> Capacity:
    """The limit of nGBPerJob: the total size of inputs, outputs and working directory (manual ch. 13).

    Outputs count as what is expected of them, without the 0.5 GB of the queue's inequality: a job of 1 GB would have
    room for half a GB of inputs only.
    """
    return Capacity(
        disk_bytes=math.floor(n_gb_per_job * GB),
        output_bytes=task.out_disk_count_kb * KB,
        work_bytes=task.work_disk_count_mb * MB,
    )


def reads_directly(task: TaskView, queue: QueueView) -> bool:
    """Whether jobs read their inputs from the storage instead of copying them.

    The queue offers it (CRIC's `direct_access_lan`), and the task asks for no copies.
    """
    return bool(queue.attributes.get("direct_access_lan")) and not wants_copies(task)


def wants_copies(task: TaskView) -> bool:
    """Whether a task asks for inputs to be copied before its jobs start (`useLocalIO`, `forceStaged`)."""
    return bool(task.split_rule.get("useLocalIO") or task.split_rule.get("forceStaged"))
