"""A job as pilots read it: PanDA's flat dictionary, whose lists are text with commas (pilot protocol 6).

Lists are parallel by position and an entry that is not set is `NULL`. `scopeOut` alone leaves the log out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..sql.tables import OUTPUT_TYPES

#: What is served under /trf/user/ : the wire's name of a transformation, and its file in server/transforms.
TRANSFORMS = {
    "runGen-00-00-02": "run_gen.py",
    "buildGen-00-00-01": "build_gen.py",
    "runMerge-00-00-02": "run_merge.py",
    "runcontainer": "run_container.py",
}
UNSET = "NULL"
#: Keys of `multiStepExec` that pilots read.
STEPS = ("preprocess", "postprocess", "coprocess", "containerOptions")


@dataclass(frozen=True)
class Terms:
    """What a pilot is told about its lease, and where the server's own transformations are."""

    lease_seconds: int
    heartbeat_seconds: int
    transform_url: str


def job_dictionary(
    job: Any,
    parameters: str,
    files: Sequence[Any],
    terms: Terms,
    *,
    multi_step: Any = None,
    secrets: str | None = None,
    may_idle: bool = False,
) -> dict[str, Any]:
    """The definition of a job from its row of `jobs`, its command line and its rows of `job_files`.

    `multi_step` is the `multiStepExec` of its task: what comes before and after the payload, and in which container.
    `secrets` is JSON text for a job that uses them; it goes to the pilot that holds the job and nowhere else.
    `may_idle` keeps the pilot from ending a payload that does nothing for long.
    """
    # a file may be in two streams, but pilots bring it once
    inputs = list({file.lfn: file for file in files if file.type == "input"}.values())
    outputs = [file for file in files if file.type in OUTPUT_TYPES]
    definition = _scalars(job, parameters, terms)
    if job.is_event_service:
        definition["eventService"] = "True"
    if job.container_name:
        definition["container_name"] = job.container_name
    if isinstance(multi_step, Mapping):
        definition |= _steps(multi_step, definition["transformation"], parameters)
    return {
        "StatusCode": 0,
        **definition,
        **_inputs(inputs),
        **_outputs(outputs),
        "leaseSeconds": terms.lease_seconds,
        "heartbeatSeconds": terms.heartbeat_seconds,
        **({} if secrets is None else {"secrets": secrets}),
        **({"loopingCheck": "False"} if may_idle else {}),
    }


def transformation_url(transformation: str, transform_url: str) -> str:
    """Where a pilot gets a transformation: one of ours by its name, any other as it is."""
    return f"{transform_url}/trf/user/{transformation}" if transformation in TRANSFORMS else transformation


def _scalars(job: Any, parameters: str, terms: Terms) -> dict[str, Any]:
    return {
        "PandaID": job.pandaid,
        "taskID": job.jeditaskid,
        "reqID": job.jeditaskid,
        "jobsetID": job.jeditaskid,
        "jobDefinitionID": job.jeditaskid,
        "jobName": f"{job.jeditaskid}.{job.serial_nr:06d}",
        "attemptNr": job.attempt_nr,
        "prodSourceLabel": job.prod_source_label,
        "processingType": _entry(job.processing_type),
        "prodUserID": job.user_name,
        "workingGroup": _entry(job.working_group),
        "VO": job.vo,
        "transformation": transformation_url(job.transformation, terms.transform_url),
        "jobPars": parameters,
        "swRelease": UNSET,
        "homepackage": UNSET,
        "cmtConfig": UNSET,
        "cloud": UNSET,
        "destinationSE": UNSET,
        "sourceSite": UNSET,
        "nucleus": UNSET,
        "transferType": UNSET,
        "resource_type": job.resource_type,
        "coreCount": job.core_count,
        "maxCpuCount": 0,
        "minRamCount": job.min_ram_count_mb,
        "maxDiskCount": job.max_disk_count_mb,
        "maxWalltime": job.max_walltime_seconds,
        "currentPriority": job.current_priority,
        "nSent": 0,
    }


def _steps(multi_step: Mapping[str, Any], transformation: str, parameters: str) -> dict[str, Any]:
    """The steps with `${TRF}` and `${TRF_ARGS}` filled (client protocol 7.6)."""

    def fill(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: fill(part) for key, part in value.items()}
        if isinstance(value, str):
            return value.replace("${TRF_ARGS}", parameters).replace("${TRF}", transformation)
        return value

    return {key: fill(multi_step[key]) for key in STEPS if multi_step.get(key)}


#: What a pilot is told of its inputs, a list for each of these: the entry that a file makes.
INPUT_LISTS: dict[str, Callable[[Any], Any]] = {
    "inFiles": lambda file: file.lfn,
    "GUID": lambda file: file.guid,
    "fsize": lambda file: file.size_bytes,
    "checksum": lambda file: file.checksum,
    "scopeIn": lambda file: file.scope,
    "realDatasetsIn": lambda file: file.dataset_name,
    "prodDBlocks": lambda file: file.dataset_name,
    "dispatchDblock": lambda file: None,
    "prodDBlockToken": lambda file: "local",  # copied, not read from afar
    "dispatchDBlockToken": lambda file: None,
    "ddmEndPointIn": lambda file: file.storage,
    "inURLs": lambda file: file.url,
}


def _inputs(files: Sequence[Any]) -> dict[str, str]:
    if not files:
        return dict.fromkeys(INPUT_LISTS, "")
    return {key: _list([entry(file) for file in files]) for key, entry in INPUT_LISTS.items()}


def _outputs(files: Sequence[Any]) -> dict[str, str]:
    columns: dict[str, Iterable[Any]] = {
        "outFiles": (file.lfn for file in files),
        "realDatasets": (file.dataset_name for file in files),
        "destinationDblock": (file.dataset_name for file in files),
        "destinationDBlockToken": (None for _ in files),
        "dispatchDBlockTokenForOut": (None for _ in files),
        "fileDestinationSE": (file.storage for file in files),
        "ddmEndPointOut": (file.storage for file in files),
        "scopeOut": (file.scope for file in files if file.type != "log"),
    }
    lists = {key: _list(column) for key, column in columns.items()}
    optional = [file.lfn for file in files if file.may_be_missing]
    if optional:
        lists["allowNoOutput"] = _list(optional)
    lists |= dict.fromkeys(("logFile", "logGUID", "scopeLog"), "")  # Harvester wants the keys, be there a log or not
    for log in (file for file in files if file.type == "log"):
        lists |= {"logFile": log.lfn, "logGUID": _entry(log.guid), "scopeLog": _entry(log.scope)}
    return lists


def _list(entries: Iterable[Any]) -> str:
    return ",".join([_entry(entry) for entry in entries])


def _entry(value: Any) -> str:
    """One entry of a list: never empty, and never with a comma (which only a URL may have, and can write otherwise)."""
    return UNSET if value in (None, "") else str(value).replace(",", "%2C")
