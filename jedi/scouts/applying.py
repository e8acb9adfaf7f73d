"""What measured figures change in a task (manual ch. 15)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.tunables import MOST
from ...plugins.capacity import FIXED, GB, KB, MB, MILLI
from ...plugins.contracts import TaskView
from .measuring import Figure, Figures

FIXED_UNIT = "its unit is Fixed"


@dataclass
class Changes:
    """New columns of a task, and for each figure what became of it."""

    columns: dict[str, Any] = field(default_factory=dict)
    why: dict[str, Any] = field(default_factory=dict)

    def set(self, column: str, old: Any, new: Any, figure: Figure) -> None:
        self.columns[column] = min(new, MOST) if isinstance(new, int) else new
        self._say(column, figure, old=old, new=new)

    def keep(self, column: str, old: Any, figure: Figure, reason: str) -> None:
        self._say(column, figure, old=old, kept=reason)

    def _say(self, column: str, figure: Figure, **what: Any) -> None:
        least = {"least": figure.least} if figure.measured < figure.least else {}
        measured = {"measured": round(figure.measured, 6), **least}
        self.why[column] = {**what, **measured, "job": figure.pandaid, "jobs": figure.n_jobs}


def apply(task: TaskView, figures: Figures) -> Changes:
    """The columns that change. A preset in a `Fixed` unit stays, and so does a larger workDiskCount."""
    changes = Changes()
    _cpu_time(task, figures.cpu_time, changes)
    _ram_count(task, figures.ram_count, changes)
    _out_disk(task, figures.out_disk, changes)
    _work_disk(task, figures.work_disk, changes)
    if figures.io_intensity is not None:
        new = _up(figures.io_intensity.value)
        changes.set("io_intensity", task.io_intensity, new, figures.io_intensity)
    if figures.disk_io is not None:
        changes.set("disk_io", task.disk_io, _up(figures.disk_io.value), figures.disk_io)
    _gb_per_job(task, figures, changes)
    return changes


#: Columns that are measured, and the parameters that preset them.
PRESETS = {
    "cpu_time": ("cpuTime", "cpuTimeUnit", "cpuEfficiency", "baseTime"),
    "ram_count_mb": ("ramCount", "ramCountUnit", "baseRamCount", "coreCount"),
    "out_disk_count_kb": ("outDiskCount", "outDiskUnit"),
    "work_disk_count_mb": ("workDiskCount", "workDiskUnit"),
    "io_intensity": ("ioIntensity", "ioIntensityUnit"),
    "disk_io": ("diskIO",),
}


def without_measured(columns: Mapping[str, Any], changed: Collection[str]) -> dict[str, Any]:
    """Refined columns of a task that has been measured, without the presets that its user has not changed."""
    return {
        column: value
        for column, value in columns.items()
        if column not in PRESETS or not set(changed).isdisjoint(PRESETS[column])
    }


def _up(value: float) -> int:
    """The next whole number, but for what floating point added: 500 * 1.1 is 550."""
    return math.ceil(round(value, 6))


def _cpu_time(task: TaskView, figure: Figure | None, changes: Changes) -> None:
    if figure is None:
        return
    if task.cpu_time_unit.endswith(FIXED) and task.cpu_time:
        changes.keep("cpu_time", task.cpu_time, figure, FIXED_UNIT)
    else:
        in_unit = figure.value / (MILLI if task.cpu_time_unit.startswith("m") else 1.0)
        changes.set("cpu_time", task.cpu_time, in_unit, figure)


def _ram_count(task: TaskView, figure: Figure | None, changes: Changes) -> None:
    """The column has the memory of a whole job, so that a figure per core is multiplied out."""
    if figure is None:
        return
    if task.ram_count_unit.endswith(FIXED) and task.ram_count_mb:
        changes.keep("ram_count_mb", task.ram_count_mb, figure, FIXED_UNIT)
    else:
        new = _up(figure.value * max(1, task.core_count)) + task.base_ram_count_mb
        changes.set("ram_count_mb", task.ram_count_mb, new, figure)


def _out_disk(task: TaskView, figure: Figure | None, changes: Changes) -> None:
    if figure is None:
        return
    if task.out_disk_unit.endswith(FIXED) and task.out_disk_count_kb:
        changes.keep("out_disk_count_kb", task.out_disk_count_kb, figure, FIXED_UNIT)
    else:
        changes.set("out_disk_count_kb", task.out_disk_count_kb, _up(figure.value), figure)


def _work_disk(task: TaskView, figure: Figure | None, changes: Changes) -> None:
    if figure is None:
        return
    if figure.value <= task.work_disk_count_mb:
        changes.keep("work_disk_count_mb", task.work_disk_count_mb, figure, "the measured value is not more")
    else:
        changes.set("work_disk_count_mb", task.work_disk_count_mb, _up(figure.value), figure)


def _gb_per_job(task: TaskView, figures: Figures, changes: Changes) -> None:
    """nGBPerJob for the size of output that the task aims at (tgtMaxOutputForNG, ch. 15.6).

    The manual says what it is adjusted by, not how. Ours: as many events as give that output, and the disk that a job
    over so many events needs. A job gets one event at least.
    """
    target_gb, old = task.split_rule.get("tgtMaxOutputForNG"), task.split_rule.get("nGBPerJob")
    out_kb = changes.columns.get("out_disk_count_kb", task.out_disk_count_kb)
    if not target_gb or not old or not out_kb or figures.input_per_event is None:
        return
    n_events = max(1, int(target_gb) * GB // (out_kb * KB))
    work_mb = changes.columns.get("work_disk_count_mb", task.work_disk_count_mb)
    needed = n_events * (figures.input_per_event.value + out_kb * KB) + work_mb * MB
    new = max(1, _up(needed / GB))
    changes.columns["split_rule"] = {**task.split_rule, "nGBPerJob": new}
    changes.why["nGBPerJob"] = {"old": old, "new": new, "events": n_events, "target_gb": target_gb}
