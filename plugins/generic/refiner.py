"""Makes tasks of parameters as PanDA's clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.priorities import usual
from ...core.task_parameters import TaskParameters
from ...core.task_pieces import JobParameter
from ...core.task_rules import KILOBYTES
from ...sql.catalogue import scope_of
from ..contracts import DatasetPlan, RefinedTask
from ..hookspecs import hookimpl

#: What intermediate files are called: PanDA's word for "unmerged".
PREMERGED = "panda.um."
#: The stream of a task without any input, whose jobs are only numbered.
NUMBERS_STREAM = "PSEUDO"

#: Percent of the CPU that jobs are taken to use when the task does not say (manual ch. 13).
USUAL_CPU_EFFICIENCY = 90.0

#: The keys that say how a task is cut into jobs (manual ch. 13), as they are stored with the task.
SPLIT_RULE = (
    "nFilesPerJob",
    "nMaxFilesPerJob",
    "nGBPerJob",
    "nEventsPerJob",
    "nEventsPerFile",
    "dynamicNumEvents",
    "minGranularity",
    "nEventsPerWorker",
    "addNthFieldToLFN",
    "includedSite",
    "excludedSite",
    "skipScout",
    "nGBPerMergeJob",
    "noWaitParent",
    "waitInput",
    "goal",
    "tgtMaxOutputForNG",
    "respectLB",
    "forceStaged",
)
#: What else of the parameters the brokerage asks for (manual ch. 12.1), stored likewise.
BROKERAGE = (
    "baseTime",
    "cpuTime",
    "ioIntensity",
    "diskIO",
    "ipConnectivity",
    "t1Weight",
    "allowInputLAN",
    "useLocalIO",
    "transHome",
    "transUses",
    "onlyTagsForFC",
)


class GenericTaskRefiner:
    """Reads `TaskParameters`: a main input, any number of secondary ones and of outputs, and a log."""

    @hookimpl
    def refine_task(self, parameters: Mapping[str, Any], user_name: str) -> RefinedTask | None:
        wanted = TaskParameters.parse(dict(parameters))
        return RefinedTask(_columns(wanted), [*_inputs(wanted), *_outputs(wanted), *_library(wanted)])


def _columns(wanted: TaskParameters) -> dict[str, Any]:
    priority = usual(wanted.prod_source_label) if wanted.task_priority is None else wanted.task_priority
    return {
        "processing_type": wanted.processing_type[:128] or None,
        "working_group": wanted.working_group[:64] or None,
        "campaign": wanted.campaign[:128] or None,
        "task_priority": priority,
        "current_priority": priority if wanted.current_priority is None else wanted.current_priority,
        "site": wanted.site or None,
        "cloud": wanted.cloud or None,
        "nucleus": wanted.nucleus or None,
        "architecture": wanted.architecture or None,
        "trans_path": wanted.trans_path or None,
        "container_name": wanted.container_name or None,
        "core_count": max(1, wanted.core_count),
        "ram_count_mb": _ram_mb(wanted),
        **_sizes(wanted),
        "max_walltime_seconds": round((wanted.max_walltime or 0) * 3600),
        "max_attempt": _max_attempt(wanted),
        "split_rule": _split_rule(wanted),
    }


def _max_attempt(wanted: TaskParameters) -> int:
    """How many failures of an input are its last; attempts that nobody's payload is to blame for are not counted.

    Clients send two limits, and no chapter tells them apart: the smaller one counts.
    """
    if wanted.disable_auto_retry:
        return 1
    return min(wanted.max_attempt, wanted.max_failure or wanted.max_attempt)


def _sizes(wanted: TaskParameters) -> dict[str, Any]:
    """What sizes of jobs are reckoned from, before scouts have measured it (manual ch. 13 and 15)."""
    out_disk_unit = wanted.out_disk_unit.removesuffix("Fixed")
    efficiency = wanted.cpu_efficiency
    return {
        "ram_count_unit": wanted.ram_count_unit,
        "base_ram_count_mb": wanted.base_ram_count,
        "cpu_time": float(wanted.cpu_time or 0),
        "cpu_time_unit": wanted.cpu_time_unit,
        "cpu_efficiency": USUAL_CPU_EFFICIENCY if efficiency is None else efficiency,
        "min_cpu_efficiency": wanted.min_cpu_efficiency or 0.0,
        "base_walltime_seconds": wanted.base_time,
        "out_disk_count_kb": _kilobytes(wanted.out_disk_count, out_disk_unit),
        "out_disk_unit": "kBFixed" if wanted.out_disk_unit.endswith("Fixed") else "kB",
        "work_disk_count_mb": _megabytes(wanted.work_disk_count, wanted.work_disk_unit),
        "io_intensity": wanted.io_intensity or 0,
        "disk_io": wanted.disk_io or 0,
    }


def _split_rule(wanted: TaskParameters) -> dict[str, Any]:
    given = wanted.model_dump(by_alias=True, mode="json")
    rule = {key: given[key] for key in (*SPLIT_RULE, *BROKERAGE) if given.get(key)}
    if wanted.cpu_efficiency is not None:  # 0 means something
        rule["cpuEfficiency"] = wanted.cpu_efficiency
    if not wanted.kills_idle_jobs:
        rule["noLoopingCheck"] = True
    if wanted.cpu_time:
        rule["cpuTimeUnit"] = wanted.cpu_time_unit
    has_files = wanted.main_input is not None or wanted.pfn_list
    if not has_files:
        return {**rule, "nFilesPerJob": 1}  # a number is a job
    if wanted.n_events_per_worker is not None:
        return {**rule, "nFilesPerJob": 1}  # whose events are handed out in ranges
    if wanted.dynamic_num_events:
        return {**rule, "useRealNumEvents": True}
    per_job, per_file = wanted.n_events_per_job, wanted.n_events_per_file
    if wanted.main_input is None or per_job is None:
        return rule
    if wanted.cuts_files:
        return {**rule, "useRealNumEvents": True, "cutsFiles": True}
    if per_file is None:
        return {**rule, "useRealNumEvents": True}
    by_events = per_job // per_file
    return {**rule, "nFilesPerJob": min(wanted.n_files_per_job or by_events, by_events)}


def _ram_mb(wanted: TaskParameters) -> int:
    per_core = wanted.ram_count_unit != "MB"
    return (wanted.ram_count or 0) * (max(1, wanted.core_count) if per_core else 1) + wanted.base_ram_count


def _kilobytes(size: int | None, unit: str) -> int:
    return (size or 0) * KILOBYTES[unit]


def _megabytes(size: int | None, unit: str) -> int:
    return -(-_kilobytes(size, unit) // 1024)


def _inputs(wanted: TaskParameters) -> list[DatasetPlan]:
    """The master, whose files or numbers are counted, and the secondary streams."""
    main = wanted.main_input
    if main is not None:
        master = _stream(
            main,
            is_master=True,
            skip_used_by=list(wanted.skip_files_used_by),
            skip_empty=wanted.skip_empty_input,
            **_so_many(wanted),
        )
    elif wanted.pfn_list:
        names = sorted(set(wanted.pfn_list))[: wanted.n_files]
        master = _made_up("IN", {"names": names})
    else:
        master = _made_up(NUMBERS_STREAM, {"n_files": wanted.n_jobs_without_input})
    return [master, *(_stream(item, n_files=item.n_files, **_for_a_job(item)) for item in wanted.secondary_inputs)]


def _for_a_job(item: JobParameter) -> dict[str, Any]:
    """How many files of a secondary stream each job gets, as brokers and splitters read it."""
    if item.is_whole:
        return {"is_whole": True}
    return {"ratio": item.ratio} if item.ratio is not None else {"n_files_per_job": item.n_files_for(1)}


def _so_many(wanted: TaskParameters) -> dict[str, int | None]:
    """How many files are wanted, or how many events, where nobody but the catalogue knows how many a file has."""
    if not wanted.n_events:
        return {"n_files": wanted.n_files}
    if wanted.n_events_per_file is None:
        return {"n_files": wanted.n_files, "n_events": wanted.n_events}
    by_events = -(-wanted.n_events // wanted.n_events_per_file)
    return {"n_files": min(wanted.n_files or by_events, by_events)}


def _stream(item: JobParameter, *, is_master: bool = False, **more: Any) -> DatasetPlan:
    return DatasetPlan(
        type="input",
        dataset_name=",".join(name.rstrip("/") for name in item.datasets),
        stream_name=item.stream or "IN",
        is_master=is_master,
        selection={
            "include": item.include,
            "exclude": item.exclude,
            "files": list(item.files),
            "offset": item.offset,
            **more,
        },
    )


def _made_up(stream: str, selection: Mapping[str, Any]) -> DatasetPlan:
    return DatasetPlan(
        type="pseudo_input", dataset_name="pseudo_dataset", stream_name=stream, is_master=True, selection=selection
    )


def _library(wanted: TaskParameters) -> list[DatasetPlan]:
    """What build jobs make: one library for each queue that the task uses."""
    if wanted.build_spec is None:
        return []
    name = wanted.task_name.rstrip("/")
    template = f"{name}.$JEDITASKID.${{SN}}.lib.tgz"
    return [
        DatasetPlan(
            type="lib", dataset_name=f"{name}.lib", stream_name="LIB", scope=scope_of(name), lfn_template=template
        )
    ]


def _outputs(wanted: TaskParameters) -> list[DatasetPlan]:
    """Outputs and log. Of a task that merges, run jobs write intermediate files, and merge jobs the files asked for."""
    streams = [(f"OUTPUT{number}", item) for number, item in enumerate(wanted.outputs)]
    plans = [_output("output", stream, item) for stream, item in streams]
    if wanted.merge_output:
        plans += [_output("tmpl_output", stream, item, prefix=PREMERGED) for stream, item in streams]
    if wanted.log_merge is not None:
        plans.append(_output("output", "LOG_MERGE", wanted.log_merge))
    if wanted.log is not None:
        plans.append(_output("log", "LOG", wanted.log))
    return plans


def _output(kind: str, stream: str, item: JobParameter, prefix: str = "") -> DatasetPlan:
    return DatasetPlan(
        type=kind,
        dataset_name=prefix + item.dataset.rstrip("/"),
        container_name=item.container or None,
        stream_name=stream,
        scope=scope_of(item.dataset),
        lfn_template=prefix + item.value,
        storage=item.destination or None,
        selection={"may_be_missing": item.allow_no_output},
    )
