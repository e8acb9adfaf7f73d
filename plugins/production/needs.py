"""What the jobs of a task need of a queue: read once from the task, so that every gate has it at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.priorities import is_high
from ...core.tunables import Numbers, tunable
from ..capacity import wants_copies
from ..contracts import TaskView
from ..grid import Inputs
from .architecture import Architecture
from .software import Release

KB_PER_MB = 1024
BYTES_PER_MB = 1 << 20
MB_PER_GB = 1024
MILLI = 1000.0
PERCENT = 100.0

#: What all our tunables belong to: the component that PanDA's own has in gdpconfig.
APP, COMPONENT = "jedi", "jobbroker"

HIGH_PRIORITY = tunable(APP, COMPONENT, "HIGH_PRIORITY", 800, unit="priority", source="manual ch. 12.1")
URGENT_PRIORITY = tunable(APP, COMPONENT, "URGENT_PRIORITY", 1000, unit="priority", source="manual ch. 12.1")
CPU_EFFICIENCY = tunable(
    APP,
    COMPONENT,
    "CPU_EFFICIENCY",
    90.0,
    unit="percent",
    source="manual ch. 13",
    help="of tasks that do not say",
    least=0.1,
    most=10 * PERCENT,
)
MIN_OUTPUT = tunable(
    APP, COMPONENT, "MIN_OUTPUT_MB", 512, unit="MB", source="manual ch. 12.1: max(0.5GB, …)", help="of a job at least"
)
MEMORY_COMPENSATION = tunable(
    APP, COMPONENT, "MEMORY_COMPENSATION", 0.9, unit="factor", source="manual ch. 12.1", help="on a job's memory"
)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The needs of one job of the task: the smallest job that the task allows.

    `work_mb` and `output_mb` are scratch disk besides the inputs; `cpu_hs06s` is the CPU time of the whole job,
    which `efficiency` (a fraction) stretches; `base_seconds` do not depend on the CPU; `max_seconds` is what the user
    allows a job to take at most; `dynamic_events` are those of the smallest job where their number is up to the queue;
    `urgent` work is of the processing type `*urgent*` or of priority 1000, `high` that of priority 800; users have to
    go beyond their usual one (`core.priorities`). Numbers of 0 are unknown.
    """

    cores: int
    priority: int
    high: bool
    memory_mb: float
    work_mb: float
    output_mb: float
    input_mb: float
    fixed_mb: float
    cpu_hs06s: float
    efficiency: float
    base_seconds: float
    max_seconds: float
    io_intensity: float
    disk_io_per_core: float
    only_direct_access: bool
    copies_inputs: bool
    connectivity: tuple[str, str] | None
    at_nucleus_only: bool
    event_service: bool
    dynamic_events: float
    urgent: bool
    architecture: Architecture
    release: Release | None
    container: str
    only_tags: bool

    @classmethod
    def of(cls, task: TaskView, inputs: Inputs, numbers: Numbers) -> Needs:
        """Read a task, whose jobs take such inputs."""
        rule = task.split_rule
        n_files, n_events = _smallest_job(rule, inputs)
        main = inputs.total.size_bytes / inputs.total.n_files * n_files if inputs.total.n_files else 0
        percent = rule.get("cpuEfficiency")
        scales = percent is None or float(percent) > 0  # 0 switches off the scaling with events (ch. 15.1)
        # The columns are presets at first and what scouts have measured then; the rule keeps what the user said.
        stated_unit = task.cpu_time_unit if task.cpu_time else str(rule.get("cpuTimeUnit", ""))
        unit = MILLI if stated_unit.startswith("m") else 1.0
        cores = max(1, task.core_count)
        return cls(
            cores=cores,
            priority=task.current_priority,
            high=is_high(task.current_priority, task.prod_source_label, numbers(HIGH_PRIORITY)),
            memory_mb=task.ram_count_mb * numbers(MEMORY_COMPENSATION),
            work_mb=task.work_disk_count_mb,
            output_mb=max(numbers(MIN_OUTPUT), task.out_disk_count_kb * n_events / KB_PER_MB),
            input_mb=(main + inputs.beside.of(n_files)) / BYTES_PER_MB,
            fixed_mb=float(rule.get("nGBPerJob") or 0) * MB_PER_GB,
            cpu_hs06s=(task.cpu_time or float(rule.get("cpuTime") or 0)) / unit * (n_events if scales else 1),
            efficiency=(float(percent) if percent else numbers(CPU_EFFICIENCY)) / PERCENT,
            base_seconds=float(rule.get("baseTime") or 0),
            max_seconds=task.max_walltime_seconds,
            io_intensity=task.io_intensity or float(rule.get("ioIntensity") or 0),
            disk_io_per_core=(task.disk_io or float(rule.get("diskIO") or 0)) / cores,
            only_direct_access=rule.get("allowInputLAN") == "only",
            copies_inputs=wants_copies(task),
            connectivity=_connectivity(rule.get("ipConnectivity")),
            at_nucleus_only=rule.get("t1Weight") == -1,
            event_service=bool(rule.get("eventService") or rule.get("nEventsPerWorker")),
            dynamic_events=n_events if rule.get("dynamicNumEvents") else 0,
            urgent="urgent" in (task.processing_type or "")
            or is_high(task.current_priority, task.prod_source_label, numbers(URGENT_PRIORITY)),
            architecture=Architecture.parse(task.architecture),
            release=Release.parse(str(rule.get("transHome") or ""), str(rule.get("transUses") or "")),
            container=task.container_name or "",
            only_tags=bool(rule.get("onlyTagsForFC")),
        )


def _smallest_job(rule: Mapping[str, Any], inputs: Inputs) -> tuple[float, float]:
    """Files and events of the smallest job that the task allows: what it asks for, else one file.

    Files without events count as one (manual ch. 15).
    """
    total = inputs.total.n_files
    per_file = inputs.n_events / total if total and inputs.n_events else 1.0
    if rule.get("dynamicNumEvents"):
        per_file = float(rule.get("nEventsPerFile") or per_file)
        n_files = math.ceil((rule.get("minGranularity") or 1) / per_file)
        return (n_files, max(n_files * per_file, 1))
    if rule.get("nEventsPerJob"):
        n_events = float(rule["nEventsPerJob"])
        return (math.ceil(n_events / per_file), n_events)
    n_files = float(rule.get("nFilesPerJob") or 1)
    return (min(n_files, total) if total else n_files, n_files * per_file)


def _connectivity(text: Any) -> tuple[str, str] | None:
    """`network_connectivity#ip_stack` as a pair, or None where nothing is specified."""
    if not text:
        return None
    network, _, stack = str(text).partition("#")
    return (network.strip().lower(), stack.strip().lower())
