"""When scouts show that a task is wrongly configured, so that its user has to decide (manual ch. 15.7).

Each detector is a gate that the task passes or not; all of them are asked, so that the user hears of everything at
once. Thresholds that the manual leaves to gdpconfig are not applied until they are set there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ...core.gates import Gate, Refusal
from ...core.tunables import Numbers, tunable
from ...plugins.capacity import PERCENT, in_hs06s
from ...plugins.contracts import TaskView
from ...plugins.scouting import APP, COMPONENT
from .measuring import Figures, ScoutJob

MEM_LEAK = tunable(
    APP, COMPONENT, "SCOUT_MEM_LEAK_PER_CORE_", 0.0, unit="kB/s per core", source="manual ch. 15.7",
    help="for each activity; 0: not looked at, as when undefined",
)  # fmt: skip
SHORT_EXECTIME = tunable(
    APP, COMPONENT, "SCOUT_SHORT_EXECTIME_", 0.0, unit="minutes", source="manual ch. 15.7",
    help="for each activity; 0: not looked at, as when undefined",
)  # fmt: skip
SHORT_PORTION = tunable(
    APP, COMPONENT, "SCOUT_SHORT_PORTION", 50.0, unit="percent of the scouts", most=PERCENT,
    source="our choice: ch. 15.7 says too many", help="that may be short",
)  # fmt: skip
RAM_RATIO = tunable(
    APP, COMPONENT, "SCOUT_RAMCOUNT_RATIO", 2.0, unit="factor",
    source="our choice: ch. 15.7 says so different; pilots kill at twice the memory",
    help="0: not looked at",
)  # fmt: skip
CPU_TIME_RATIO = tunable(
    APP, COMPONENT, "SCOUT_CPUTIME_RATIO", 10.0, unit="factor",
    source="our choice: ch. 15.7 says so different; a figure per event is often a guess",
    help="0: not looked at",
)  # fmt: skip
OVER_CPU = tunable(
    APP, COMPONENT, "SCOUT_OVER_CPU", 110.0, unit="percent of the allocated CPU", most=100 * PERCENT,
    source="manual ch. 4.1.4, over_cpu_consumption: longer than the execution time; our margin for clocks",
    help="0: not looked at",
)  # fmt: skip
MIN_EXECTIME = tunable(
    APP, COMPONENT, "SCOUT_MIN_EXECTIME", 300.0, unit="seconds",
    source="our choice: times are told in seconds, and start-up dominates what is shorter",
    help="of jobs whose CPU efficiency and memory leak are looked at",
)  # fmt: skip


@dataclass(frozen=True)
class Findings:
    """What the detectors look at: finished scouts, their figures, and the numbers for the task's activity."""

    scouts: Sequence[ScoutJob]
    figures: Figures
    numbers: Numbers

    @property
    def long_enough(self) -> list[ScoutJob]:
        return [job for job in self.scouts if job.exec_seconds >= self.numbers(MIN_EXECTIME)]

    def efficiencies(self) -> list[float]:
        """CPU time in percent of the cores' time, for each scout that tells it."""
        return [
            job.cpu_seconds / (job.exec_seconds * job.core_count) * PERCENT
            for job in self.long_enough
            if job.cpu_seconds is not None
        ]


def _memory_leak(findings: Findings, task: TaskView) -> Refusal | None:
    limit = findings.numbers(MEM_LEAK, task.prod_source_label)
    leaks = [
        (job.leak_kb_per_second / job.core_count, job.pandaid)
        for job in findings.long_enough
        if job.leak_kb_per_second is not None
    ]
    if limit <= 0 or not leaks or max(leaks)[0] <= limit:
        return None
    worst, pandaid = max(leaks)
    return Refusal(
        f"job {pandaid} leaks {worst:.1f} kB/s of memory per core, {limit:g} are allowed: mend the program",
        worst / limit,
    )


def _short_jobs(findings: Findings, task: TaskView) -> Refusal | None:
    limit = findings.numbers(SHORT_EXECTIME, task.prod_source_label)
    short = [job for job in findings.scouts if job.exec_seconds < limit * 60]
    portion = len(short) / len(findings.scouts) * PERCENT if findings.scouts else 0.0
    if limit <= 0 or portion <= findings.numbers(SHORT_PORTION):
        return None
    return Refusal(
        f"{len(short)} of {len(findings.scouts)} scouts ran for less than {limit:g} minutes: give each job more inputs",
        portion,
    )


def _ram_count(findings: Findings, task: TaskView) -> Refusal | None:
    """Only more than the preset is a fault: a job that needs less does no harm, and the figure is simply lowered."""
    ratio, figure = findings.numbers(RAM_RATIO), findings.figures.ram_count
    preset = (task.ram_count_mb - task.base_ram_count_mb) / max(1, task.core_count)
    if figure is None or ratio <= 0 or preset <= 0 or figure.value <= ratio * preset:
        return None
    floor = f", and the least is {figure.least:.0f} (SCOUT_RAMCOUNT_MIN)" if figure.measured < figure.least else ""
    return Refusal(
        f"ramCount is {preset:.0f} MB per core, but {figure.measured:.0f} were measured, with the margin"
        f" (job {figure.pandaid}){floor}: ask for {figure.value:.0f}",
        figure.value / preset,
    )


def _cpu_time(findings: Findings, task: TaskView) -> Refusal | None:
    """Only more than the preset is a fault, as for the memory."""
    ratio, figure = findings.numbers(CPU_TIME_RATIO), findings.figures.cpu_time
    preset = in_hs06s(task.cpu_time, task.cpu_time_unit)
    if figure is None or ratio <= 0 or preset <= 0 or figure.value <= ratio * preset:
        return None
    return Refusal(
        f"cpuTime is {preset:g} HS06 s per event, but {figure.value:.1f} were measured (job {figure.pandaid}):"
        f" give {figure.value:.1f}",
        figure.value / preset,
    )


def _low_efficiency(findings: Findings, task: TaskView) -> Refusal | None:
    limit, found = task.min_cpu_efficiency, findings.efficiencies()
    if limit <= 0 or not found or median(found) >= limit:
        return None
    return Refusal(
        f"half of the scouts used {median(found):.0f} % of their CPU or less, minCpuEfficiency is {limit:g}:"
        " ask for fewer cores, or lower it",
        limit - median(found),
    )


def _abused_cpu(findings: Findings, task: TaskView) -> Refusal | None:
    limit, found = findings.numbers(OVER_CPU), findings.efficiencies()
    if limit <= 0 or not found or median(found) <= limit:
        return None
    cores = max(1, task.core_count)
    wanted = max(cores + 1, round(cores * median(found) / PERCENT))
    return Refusal(
        f"over_cpu_consumption: half of the scouts used {median(found):.0f} % of the CPU of their {cores} cores or"
        f" more: ask for {wanted} cores (--nCore), or start fewer threads",
        median(found) - limit,
    )


_SOURCE = "manual ch. 15.7"
DETECTORS: tuple[Gate[Findings, TaskView], ...] = (
    Gate("memory leak", _memory_leak, _SOURCE),
    Gate("too many short jobs", _short_jobs, _SOURCE),
    Gate("ramCount differs", _ram_count, _SOURCE),
    Gate("cpuTime differs", _cpu_time, _SOURCE),
    Gate("low CPU efficiency", _low_efficiency, _SOURCE),
    Gate("over_cpu_consumption", _abused_cpu, _SOURCE),
)


def worries(task: TaskView, findings: Findings) -> dict[str, str]:
    """What is wrong, {detector: what was found and what would help}; empty when nothing is."""
    asked = [(gate.name, gate.check(findings, task)) for gate in DETECTORS]
    return {name: refusal.change for name, refusal in asked if refusal is not None}
