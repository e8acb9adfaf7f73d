"""Scenarios of scouts: a task, what its first jobs reported, and what becomes of the task (docs/scouts.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scenario_files import Entry, Words, is_scenario, numbers, read_entries, unknown_settings, unknown_words
from sizes import task_view

from bamboo.core.errors import Fault
from bamboo.core.tunables import Numbers
from bamboo.jedi.scouts.applying import apply
from bamboo.jedi.scouts.exhaustion import DETECTORS, Findings, worries
from bamboo.jedi.scouts.measuring import ScoutJob, measure
from bamboo.plugins.capacity import KB, MB, core_power
from bamboo.plugins.contracts import TaskView
from bamboo.plugins.generic.refiner import GenericTaskRefiner

SECTIONS = ("scenario", "manual", "settings", "task", "each", "jobs", "expect")
#: Parameters of tasks, by PanDA's names.
TASK = (
    "activity",
    "coreCount",
    "cpuTime",
    "cpuTimeUnit",
    "cpuEfficiency",
    "minCpuEfficiency",
    "baseTime",
    "ramCount",
    "ramCountUnit",
    "baseRamCount",
    "outDiskCount",
    "outDiskUnit",
    "workDiskCount",
    "workDiskUnit",
    "nGBPerJob",
    "tgtMaxOutputForNG",
)
JOB = (
    "seconds",
    "cores",
    "corepower",
    "events",
    "input_mb",
    "output_mb",
    "cpu_seconds",
    "memory_mb",
    "workdir_mb",
    "local_traffic_mb",
    "leak_kb_per_second",
)
#: What scouts set, by the words that scenarios of brokerage have for it.
COLUMNS = {
    "cpuTime": "cpu_time",
    "memory_mb": "ram_count_mb",
    "outDiskCount_kb": "out_disk_count_kb",
    "workDiskCount_mb": "work_disk_count_mb",
    "ioIntensity": "io_intensity",
    "diskIO": "disk_io",
    "nGBPerJob": "nGBPerJob",
}
EXPECT = ("set", "kept", "not_set", "from", "counted", "exhausted")
COMPONENTS = ("scouts", "jobsplitter")


def read(path: Path) -> list[Entry]:
    """The scenarios of a file; raises `Invalid` with every fault in it."""
    return read_entries(path, faults_of)


def faults_of(data: Any, where: str) -> list[Fault]:
    """Every unknown word of a scenario, with the one that may have been meant."""
    if not is_scenario(data):
        return [Fault(where, "not a scenario", "give at least `scenario`, `jobs` and `expect`")]
    where, jobs, expect = f"{where} {data['scenario']!r}", data.get("jobs") or {}, data["expect"]
    tables: list[Words] = [
        ("", data, SECTIONS),
        ("task", data.get("task"), TASK),
        ("each", data.get("each"), JOB),
        *((f"jobs.{name}", part, JOB) for name, part in jobs.items()),
        ("expect", expect, EXPECT),
        *((f"expect.{key}", expect.get(key), COLUMNS) for key in EXPECT if key != "exhausted"),
        ("expect.from", list((expect.get("from") or {}).values()), jobs),
        ("expect.exhausted", expect.get("exhausted"), [gate.name for gate in DETECTORS]),
    ]
    return [*unknown_words(where, tables), *unknown_settings(where, data.get("settings"), *COMPONENTS)]


@dataclass(frozen=True)
class Measured:
    """What became of a task: what is new, why, from which job each figure is, and why the task is exhausted."""

    new: Mapping[str, Any]
    why: Mapping[str, Mapping[str, Any]]
    source: Mapping[str, str]
    exhausted: Mapping[str, str]


def play(data: Mapping[str, Any]) -> Measured:
    """Have the task made by the refiner, and its scouts measured, as the Scout Evaluator does it."""
    values = numbers(data.get("settings") or {}, *COMPONENTS)
    task, names = _task(data.get("task") or {}), list(data["jobs"])
    jobs = [
        _job(number, {**(data.get("each") or {}), **(data["jobs"][name] or {})}, values)
        for number, name in enumerate(names, 1)
    ]
    figures = measure(task, jobs, values)
    changes = apply(task, figures)
    columns = {**changes.columns, **changes.columns.get("split_rule", {})}
    changed = {word: columns[column] for word, column in COLUMNS.items() if "new" in changes.why.get(column, {})}
    why = {word: changes.why[column] for word, column in COLUMNS.items() if column in changes.why}
    source = {word: names[one["job"] - 1] for word, one in why.items() if "job" in one}
    return Measured(changed, why, source, worries(task, Findings(jobs, figures, values)))


def _task(given: Mapping[str, Any]) -> TaskView:
    parameters = {
        "taskName": "user.alice.a",
        "prodSourceLabel": given.get("activity", "user"),
        "vo": "wlcg",
        "jobParameters": [{"type": "template", "param_type": "input", "value": "${IN}", "dataset": "user.alice.in"}],
        **{key: value for key, value in given.items() if key != "activity"},
    }
    refined = GenericTaskRefiner().refine_task(parameters, "alice")
    assert refined is not None
    known = {one.name for one in fields(TaskView)}
    columns = {name: value for name, value in refined.columns.items() if name in known}
    return task_view(prod_source_label=parameters["prodSourceLabel"], **columns)


def _job(number: int, given: Mapping[str, Any], values: Numbers) -> ScoutJob:
    def scaled(key: str, unit: int) -> int | None:
        return int(given[key] * unit) if key in given else None

    return ScoutJob(
        pandaid=number,
        core_count=given.get("cores", 1),
        core_power=core_power({"corepower": given.get("corepower")}, values),
        exec_seconds=float(given.get("seconds", 0)),
        n_events=given.get("events", 1),
        input_bytes=scaled("input_mb", MB) or 0,
        output_bytes=scaled("output_mb", MB) or 0,
        cpu_seconds=given.get("cpu_seconds"),
        max_pss_kb=scaled("memory_mb", KB),
        work_dir_bytes=scaled("workdir_mb", MB),
        disk_traffic_kb=scaled("local_traffic_mb", KB),
        leak_kb_per_second=given.get("leak_kb_per_second"),
    )
