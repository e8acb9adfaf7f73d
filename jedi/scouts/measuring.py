"""The figures that finished jobs give for the jobs to come (manual ch. 15.1 to 15.6).

Pure functions of a task and its finished jobs. Where the manual names a percentile, ours is the nearest rank: the
smallest value that at least so many percent of the jobs do not exceed. So each figure is that of one job, which is
named in the decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...core.tunables import Numbers, tunable
from ...plugins.capacity import KB, MB, PERCENT
from ...plugins.contracts import TaskView
from ...plugins.scouting import APP, COMPONENT

CPU_TIME_RANK = tunable(
    APP, COMPONENT, "SCOUT_CPUTIME_RANK", 95.0, unit="percent", source="manual ch. 15.1", most=PERCENT,
    help="percentile of cpuTime; the manual prints the key of ramCount's",
)  # fmt: skip
CPU_TIME_MARGIN = tunable(
    APP, COMPONENT, "SCOUT_CPUTIME_MARGIN", 1.5, unit="factor", source="manual ch. 15.1", most=100
)
CPU_TIME_MIN_EVENTS = tunable(
    APP, COMPONENT, "SCOUT_CPUTIME_MIN_EVENTS", 10, unit="events per core", source="manual ch. 15.1"
)
CPU_TIME_LONG = tunable(
    APP, COMPONENT, "SCOUT_CPUTIME_LONG_EXECTIME", 6.0, unit="hours", source="manual ch. 15.1",
    help="jobs with fewer events count when they ran for longer",
)  # fmt: skip
RAM_RANK = tunable(APP, COMPONENT, "SCOUT_RAMCOUNT_RANK", 75.0, unit="percent", source="manual ch. 15.2", most=PERCENT)
RAM_MARGIN = tunable(APP, COMPONENT, "SCOUT_RAMCOUNT_MARGIN", 10.0, unit="percent", source="manual ch. 15.2", most=1000)
RAM_MIN = tunable(
    APP,
    COMPONENT,
    "SCOUT_RAMCOUNT_MIN",
    500.0,
    unit="MB per core",
    source="manual ch. 15.2; the default is ours: pilots kill at twice the memory, and small programs vary by more",
    help="0: none",
)
OUT_DISK_RANK = tunable(
    APP, COMPONENT, "SCOUT_OUTDISK_RANK", 75.0, unit="percent", source="manual ch. 15.3", most=PERCENT
)
OUT_DISK_MIN_EVENTS = tunable(APP, COMPONENT, "SCOUT_OUTDISK_MIN_EVENTS", 10, unit="events", source="manual ch. 15.3")
DISK_IO_RANK = tunable(
    APP, COMPONENT, "SCOUT_DISK_IO_RANK", 50.0, unit="percent", most=PERCENT,
    source="our choice: ch. 15.5 gives the formula of one job only; the median bears an outlier",
)  # fmt: skip
DISK_IO_CAP = tunable(
    APP, COMPONENT, "SCOUT_DISK_IO_CAP", 0.0, unit="kB/s", source="manual ch. 15.5", help="0: none, as when undefined"
)

#: Times are told in seconds: what is shorter has no rate.
SHORTEST = 1.0


@dataclass(frozen=True, kw_only=True)
class ScoutJob:
    """A finished job as far as it is measured. None is unknown: such a job does not count for that figure."""

    pandaid: int
    core_count: int
    core_power: float  #: HS06 of a core of its queue
    exec_seconds: float  #: endTime - startTime
    n_events: int  #: at least 1: a file without event information counts as one (ch. 15)
    input_bytes: int = 0
    output_bytes: int = 0
    cpu_seconds: float | None = None
    max_pss_kb: int | None = None
    work_dir_bytes: int | None = None
    disk_traffic_kb: int | None = None  #: totRBYTES + totWBYTES
    leak_kb_per_second: float | None = None


@dataclass(frozen=True)
class Figure:
    """A measured value, the job it comes from, and how many jobs were looked at.

    What was measured may be less than is ever asked for (`least`); `value` is what counts then.
    """

    measured: float
    pandaid: int
    n_jobs: int
    least: float = 0.0

    @property
    def value(self) -> float:
        return max(self.measured, self.least)


@dataclass(frozen=True)
class Figures:
    """All that was measured; None where no job counts."""

    cpu_time: Figure | None = None  #: HS06 s per event
    ram_count: Figure | None = None  #: MB per core
    out_disk: Figure | None = None  #: kB per event
    work_disk: Figure | None = None  #: MB
    io_intensity: Figure | None = None  #: kB/s
    disk_io: Figure | None = None  #: kB/s
    input_per_event: Figure | None = None  #: bytes; for nGBPerJob


def measure(task: TaskView, jobs: Sequence[ScoutJob], numbers: Numbers) -> Figures:
    """What finished jobs of a task say."""

    def over(value: Callable[[TaskView, ScoutJob, Numbers], float | None], rank: float) -> Figure | None:
        return percentile([(one, job.pandaid) for job in jobs if (one := value(task, job, numbers)) is not None], rank)

    memory = over(ram_count, numbers(RAM_RANK))
    return Figures(
        cpu_time=over(cpu_time, numbers(CPU_TIME_RANK)),
        ram_count=replace(memory, least=numbers(RAM_MIN)) if memory is not None else None,
        out_disk=over(out_disk, numbers(OUT_DISK_RANK)),
        work_disk=over(work_disk, PERCENT),
        io_intensity=over(io_intensity, PERCENT),
        disk_io=over(disk_io, numbers(DISK_IO_RANK)),
        input_per_event=over(input_per_event, numbers(OUT_DISK_RANK)),
    )


def percentile(values: Sequence[tuple[float, int]], rank: float) -> Figure | None:
    """The nearest rank of (value, pandaid) pairs, `rank` in percent."""
    if not values:
        return None
    ordered = sorted(values)
    at = min(len(ordered), max(1, math.ceil(len(ordered) * rank / PERCENT)))
    value, pandaid = ordered[at - 1]
    return Figure(value, pandaid, len(ordered))


def cpu_time(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """HS06 s per event: max(0, execution time - baseTime) * corePower * coreCount * cpuEfficiency * 1.5 / nEvents.

    None of a job with few events that was short, and of a task that switched the scaling off (ch. 15.1).
    """
    enough = job.n_events >= numbers(CPU_TIME_MIN_EVENTS) * job.core_count
    if task.cpu_efficiency <= 0 or not (enough or job.exec_seconds >= numbers(CPU_TIME_LONG) * 3600):
        return None
    seconds = max(0.0, job.exec_seconds - task.base_walltime_seconds)
    work = seconds * job.core_power * job.core_count * task.cpu_efficiency / PERCENT
    return work * numbers(CPU_TIME_MARGIN) / job.n_events


def ram_count(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """MB per core: (maxPSS - baseRamCount) / coreCount * margin, the margin 10 % (ch. 15.2).

    minRamCount is the least of the figure, as the largest of each and it has the same percentile.
    """
    if not job.max_pss_kb:
        return None
    per_core = (job.max_pss_kb / KB - task.base_ram_count_mb) / job.core_count
    return max(per_core * (1 + numbers(RAM_MARGIN) / PERCENT), 0.0)


def out_disk(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """kB of output per event, of jobs with ten events at least (ch. 15.3)."""
    if job.n_events < numbers(OUT_DISK_MIN_EVENTS):
        return None
    return job.output_bytes / KB / job.n_events


def work_disk(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """MB of the working directory (ch. 15.3)."""
    return None if job.work_dir_bytes is None else job.work_dir_bytes / MB


def io_intensity(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """kB/s: inputs and outputs by execution time (ch. 15.4)."""
    return (job.input_bytes + job.output_bytes) / KB / job.exec_seconds if job.exec_seconds >= SHORTEST else None


def disk_io(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """kB/s: min((totRBYTES + totWBYTES) / execution time, cap) (ch. 15.5)."""
    if job.disk_traffic_kb is None or job.exec_seconds < SHORTEST:
        return None
    rate, cap = job.disk_traffic_kb / job.exec_seconds, numbers(DISK_IO_CAP)
    return min(rate, cap) if cap > 0 else rate


def input_per_event(task: TaskView, job: ScoutJob, numbers: Numbers) -> float | None:
    """Bytes of input per event, of the jobs whose outputs count too, so that both are of one kind."""
    return None if job.n_events < numbers(OUT_DISK_MIN_EVENTS) else job.input_bytes / job.n_events
