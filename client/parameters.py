"""Task parameters in the shape prun sends, so that the server needs to know one language only.

The keys and the rules are those of PanDA's own client 2.2.0 (client protocol 7.4 to 7.7): with the same options
a task submitted here and one submitted by prun differ in `processingType`, and in the line that runs a command in its
image. One default is another: there is no build job unless there is something to build.
"""

from __future__ import annotations

import platform
import re
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from ..core.input_choice import NO_LOGS, name_pattern
from .command_words import PLACEHOLDER
from .naming import name_space, parse_outputs
from .secondary import secondary_items, stream_map
from .side_jobs import build_parts, container_parts, log_merge, merge_parts
from .spec import TaskSpec

Item = dict[str, Any]

PROCESSING_TYPE = "bamboo-run"


def task_parameters(spec: TaskSpec, *, archive: str, source_url: str) -> dict[str, Any]:
    """Everything the server needs for `task/submit`.

    `archive` is the name of the uploaded sandbox (empty for none), `source_url` where jobs fetch it from.
    """
    return {
        "taskName": f"{spec.out_ds}/",
        **given(uniqueTaskName=not spec.allow_task_duplication),
        "vo": spec.vo,
        "architecture": spec.architecture or ("" if spec.container_image else None),
        "transUses": "",
        "transHome": None,
        "processingType": PROCESSING_TYPE,
        "prodSourceLabel": "user",
        "site": spec.site[0] if len(spec.site) == 1 else None,
        "excludedSite": list(spec.excluded_site),
        "includedSite": list(spec.site) if len(spec.site) > 1 else None,
        **optional("currentPriority", spec.priority),
        **optional("nGBPerJob", spec.n_gb_per_job),
        **(splitting_by_input(spec) if spec.reads_main else splitting_by_count(spec)),
        "cliParams": spec.cli_params,
        **given(noEmail=spec.no_email, skipScout=spec.skip_scout),
        "osInfo": platform.platform(),
        **given(noWaitParent=bool(spec.parent_task_id), disableAutoRetry=int(spec.disable_auto_retry)),
        **given(official=spec.official, osMatching=spec.os_matching, avoidVP=spec.avoid_vp),
        **given(workingGroup=re.split(r"[.:]", spec.working_group)[0]),
        "nMaxFilesPerJob": spec.max_n_files_per_job,
        **given(fixedSandbox=archive if spec.use_new_code else ""),
        **needs(spec),
        "respectSplitRule": True,
        **given(respectLB=spec.respect_lb, skipFilesUsedBy=",".join(spec.skip_files_used_by)),
        **optional("maxAttempt", spec.max_attempt),
        **given(useSecrets=spec.use_secrets, debugMode=spec.debug_mode),
        "sourceURL": source_url,
        **given(addNthFieldToLFN=spec.nth_field, useFileAsSourceLFN=bool(spec.add_nth_field_of_in_file_to_lfn)),
        **container_parts(spec),
        **({} if spec.no_separate_log else {"log": log_template(spec)}),
        **log_merge(spec),
        "jobParameters": list(job_parameters(spec, archive)),
        **main_input(spec),
        **given(reuseSecOnDemand=bool(spec.secondary_dss)),
        **access(spec),
        **build_parts(spec, archive),
        **merge_parts(spec, archive),
    }


def optional(key: str, value: int | None) -> dict[str, int]:
    return {} if value is None else {key: value}


def given(**values: object) -> dict[str, object]:
    """Those that say something: prun leaves out what is off."""
    return {key: value for key, value in values.items() if value}


def needs(spec: TaskSpec) -> dict[str, Any]:
    """What a job needs of a machine; prun does not send a single core."""
    cpu_unit = "HS06sPerEventFixed" if spec.fixed_cpu_time else "HS06sPerEvent"
    return {
        **given(noLoopingCheck=spec.no_looping_check),
        **optional("maxWalltime", spec.max_walltime_hours),
        **({"cpuTime": spec.cpu_time_per_event, "cpuTimeUnit": cpu_unit} if spec.cpu_time_per_event else {}),
        **({"ramCount": spec.memory_mb, "ramCountUnit": "MBPerCore"} if spec.memory_mb else {}),
        **({"outDiskCount": spec.out_disk_count, "outDiskUnit": "kBFixed"} if spec.out_disk_count else {}),
        **optional("coreCount", spec.n_core if spec.n_core != 1 else None),
        **optional("maxCoreCount", spec.max_core),
    }


def access(spec: TaskSpec) -> dict[str, Any]:
    """How inputs are read: copied first, or over the network, or as the queue has it."""
    copied = spec.force_staged or spec.transfer_type == "file"
    over_the_network = spec.transfer_type == "direct" and not copied
    return given(
        useLocalIO=int(copied), allowInputLAN="only" if over_the_network else "", transferType=spec.transfer_type
    )


def main_input(spec: TaskSpec) -> dict[str, Any]:
    """Where the main input is from: datasets, addresses that go to the command as they are, or nowhere."""
    if spec.in_ds:
        return {"dsForIN": ",".join(spec.in_ds)}
    return {**given(pfnList=sorted(spec.pfn_list)), "noInput": True}


def splitting_by_count(spec: TaskSpec) -> dict[str, Any]:
    """How many jobs a task without input has: `nEvents` / `nEventsPerJob`."""
    n_jobs = spec.n_jobs or 1
    if spec.n_events is None:
        per_job = spec.n_events_per_job or 1
        return {"nEvents": per_job * n_jobs, "nEventsPerJob": per_job}
    per_job = spec.n_events_per_job or (max(1, spec.n_events // spec.n_jobs) if spec.n_jobs else 1)
    return {"nEvents": spec.n_events, "nEventsPerJob": per_job}


def splitting_by_input(spec: TaskSpec) -> dict[str, Any]:
    """How inputs are shared out over jobs."""
    n_files, n_files_per_job, n_events = spec.n_files, spec.n_files_per_job, spec.n_events
    if spec.n_jobs and spec.n_events_per_job:
        n_events = spec.n_jobs * spec.n_events_per_job
        if spec.n_events_per_file:
            n_files = max(1, n_events // spec.n_events_per_file)
    if spec.n_jobs and n_files_per_job and n_files is None:
        n_files = spec.n_jobs * n_files_per_job
    elif spec.n_jobs and n_files and n_files_per_job is None:
        n_files_per_job = max(1, n_files // spec.n_jobs)
    if spec.pfn_list and n_files is None:
        n_files = len(spec.pfn_list)
    counts_events = spec.n_events_per_job and not spec.n_events_per_file
    return {
        **optional("nFiles", n_files),
        **optional("nFilesPerJob", n_files_per_job),
        **given(skipEmptyInput=spec.skip_empty_input),
        **given(useRealNumEvents=bool(counts_events or spec.skip_empty_input)),
        **optional("nEventsPerJob", spec.n_events_per_job),
        **optional("nEventsPerFile", spec.n_events_per_file),
        **optional("nEventsPerWorker", spec.n_events_per_worker),
        **optional("nEvents", n_events),
    }


def log_template(spec: TaskSpec) -> Item:
    out_ds = spec.out_ds
    name = f"{out_ds}.log.$JEDITASKID.${{SN}}.log.tgz"
    if spec.add_nth_field_of_in_file_to_lfn:
        name = f"{name_space(out_ds)}${{MIDDLENAME}}.$JEDITASKID._${{SN}}.log.tgz"
    return {
        "dataset": f"{out_ds}.log/",
        "container": f"{out_ds}.log/",
        "type": "template",
        "param_type": "log",
        "value": name,
    }


def constant(value: str, **fields: bool) -> Item:
    return {"type": "constant", "value": value, **fields}


def job_parameters(spec: TaskSpec, archive: str) -> Iterator[Item]:
    """The items whose values, put together by the server, are a job's command line."""
    yield constant('-j "" --sourceURL ${SURL}')
    yield constant(f"-r {spec.run_dir}")
    yield constant("__delimiter__", hidden=True)
    if spec.has_build:
        yield constant("-l ${LIB}")
    elif archive:
        yield constant(f"-a {archive}")
    yield from output_items(spec)
    if spec.in_ds:
        yield input_item(spec)
    elif spec.pfn_list:
        yield constant('-i "${IN/T}"')
    yield constant('-p "', padding=False)
    yield from command_items(spec.exec)
    yield constant('"')
    if spec.db_release:
        name = "DBR_LATEST" if spec.db_release == "LATEST" else spec.db_release.partition(":")[0]
        yield {"type": "template", "param_type": "input", "value": "--dbrFile=${DBR}", "dataset": name}
    if spec.secondary_dss:
        gather_in = partial(new_container, spec) if spec.not_expand_sec_dss else None
        yield from secondary_items(
            spec.secondary_dss, as_ratio=spec.use_num_files_in_sec_dss_as_ratio, gather_in=gather_in
        )
        yield constant(stream_map([*(["IN"] if spec.in_ds else []), *(stream.name for stream in spec.secondary_dss)]))
    if told := options_of_the_transform(spec):
        yield constant(" ".join(told) + " ")


def options_of_the_transform(spec: TaskSpec) -> list[str]:
    """How the transform shall treat inputs and outputs."""
    return [
        *(["--givenPFN"] if spec.pfn_list else []),
        *([f"--writeInputToTxt {spec.write_input_to_txt}"] if spec.write_input_to_txt else []),
        *(["--execWithRealFileNames"] if spec.exec_with_real_file_names else []),
    ]


def new_container(spec: TaskSpec) -> str:
    """A name that nobody has for a dataset to gather those of a container in."""
    return f"{name_space(spec.out_ds)}.{uuid.uuid4()}/"


def input_item(spec: TaskSpec) -> Item:
    """The template of the main input. Children read what their parent has made as one dataset, whatever it is of."""
    exclude = [*([] if spec.use_log_as_input else [NO_LOGS]), *map(name_pattern, spec.anti_match)]
    if spec.parent_task_id or spec.not_expand_in_ds:
        gathering: dict[str, Any] = {"consolidate": new_container(spec)}
    else:
        gathering = {"expand": True}
    return {
        "type": "template",
        "param_type": "input",
        "value": '-i "${IN/T}"',
        "dataset": ",".join(spec.in_ds),
        **given(exclude=",".join(exclude)),
        **gathering,
        **optional("offset", spec.n_skip_files),
        **given(include=",".join(map(name_pattern, spec.match)), files=list(spec.input_files)),
    }


def output_items(spec: TaskSpec) -> Iterator[Item]:
    """A hidden template for each output dataset, and the map from the job's names to the names they are kept under."""
    outputs = parse_outputs(spec.outputs, spec.out_ds, middle="${MIDDLENAME}" if spec.nth_field else "")
    may_miss = [
        output.lfn_template
        for output in outputs
        if any(re.search(f"(?:{pattern})$", output.lfn_template) for pattern in spec.allow_no_output)
    ]
    for output in outputs:
        yield {
            "type": "template",
            "value": output.lfn_template,
            "param_type": "output",
            "dataset": output.dataset,
            "container": output.dataset,
            **given(allowNoOutput=output.lfn_template in may_miss, destination=spec.dest_se),
            "hidden": True,
        }
    if outputs:
        yield constant(f'-o "{ {output.local: output.lfn_template for output in outputs} }"')
    if told := [lfn for lfn in may_miss if not lfn.startswith("regex|")]:  # patterns have no names yet
        yield constant(f"--allowNoOutput={','.join(told)}")


def command_items(command: str) -> Iterator[Item]:
    """The command, URL-quoted, and cut at the placeholders that the server fills."""
    at = 0
    for found in PLACEHOLDER.finditer(command):
        if found.start() > at:
            yield constant(quote(command[at : found.start()]), padding=False)
        yield number_item(found["offset"], found["number"], found["first"])
        at = found.end()
    if at < len(command):
        yield constant(quote(command[at:]), padding=False)


def number_item(offset: str | None, number: str | None, first: str | None = None) -> Item:
    """One placeholder as a template item: a running number from `offset`, or a number about events.

    With neither it is the number of the job's first event, counted from `first`.
    """
    if offset is None:
        name, more = (number, {}) if number else ("FIRSTEVENT", {"offset": int(first or 0)})
        return {"type": "template", "param_type": "number", "value": f"${{{name}}}", **more, "padding": False}
    return {
        "type": "template",
        "param_type": "pseudo_input",
        "value": "${SEQNUMBER}",
        "dataset": "seq_number",
        "offset": int(offset),
        "padding": False,
    }
