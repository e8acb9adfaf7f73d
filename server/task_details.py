"""Tasks and their jobs in the larger shapes that PanDA's clients ask for (client protocol 6.3, 6.5 and 6.6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.contrasts import Tally
from ..core.contrasts import contrasts as find_contrasts
from ..sql import contrasts as contrasts_sql
from ..sql import datasets as datasets_sql
from ..sql import job_queries, task_queries
from ..sql import tasks as tasks_sql
from ..sql.selection import Selection
from ..sql.tables import INPUT_TYPES
from . import task_rows

MAX_JOBS = 10_000
MAX_FILES = 100_000
MAX_TASKS = 1000
_JOB_WORDS = """
PandaID jobDefinitionID schedulerID pilotID creationTime creationHost modificationTime modificationHost AtlasRelease
transformation homepackage prodSeriesLabel prodSourceLabel prodUserID assignedPriority currentPriority attemptNr
maxAttempt jobStatus jobName maxCpuCount maxCpuUnit maxDiskCount maxDiskUnit ipConnectivity minRamCount minRamUnit
startTime endTime cpuConsumptionTime cpuConsumptionUnit commandToPilot transExitCode pilotErrorCode pilotErrorDiag
exeErrorCode exeErrorDiag supErrorCode supErrorDiag ddmErrorCode ddmErrorDiag brokerageErrorCode brokerageErrorDiag
jobDispatcherErrorCode jobDispatcherErrorDiag taskBufferErrorCode taskBufferErrorDiag computingSite computingElement
jobParameters metadata prodDBlock dispatchDBlock destinationDBlock destinationSE nEvents grid cloud cpuConversion
sourceSite destinationSite transferType taskID cmtConfig stateChangeTime prodDBUpdateTime lockedby relocationFlag
jobExecutionID VO pilotTiming workingGroup processingType prodUserName nInputFiles countryGroup batchID parentID
specialHandling jobsetID coreCount nInputDataFiles inputFileType inputFileProject inputFileBytes nOutputDataFiles
outputFileBytes jobMetrics workQueue_ID jediTaskID jobSubStatus actualCoreCount reqID maxRSS maxVMEM maxSWAP maxPSS
avgRSS avgVMEM avgSWAP avgPSS maxWalltime nucleus eventService failedAttempt hs06sec gshare hs06 totRCHAR totWCHAR
totRBYTES totWBYTES rateRCHAR rateWCHAR rateRBYTES rateWBYTES resource_type diskIO memory_leak memory_leak_x2
container_name job_label gco2_regional gco2_global cpu_architecture_level outputFileType
"""
#: The attributes of a job in PanDA's order.
JOB_ATTRIBUTES = tuple(_JOB_WORDS.split())
_FILE_WORDS = """
rowID PandaID GUID lfn type dataset status prodDBlock prodDBlockToken dispatchDBlock dispatchDBlockToken
destinationDBlock destinationDBlockToken destinationSE fsize md5sum checksum scope
"""
#: The attributes of a file of a job, in PanDA's order.
FILE_ATTRIBUTES = tuple(_FILE_WORDS.split())


def row(tx: sa.Connection, jeditaskid: int) -> dict[str, Any]:
    """One task, with the parameters that it was submitted with; raises `NotFound`."""
    (found,) = rows(tx, [tasks_sql.get_task(tx, jeditaskid)])
    return {**found, "raw_task_params": tasks_sql.get_parameters(tx, jeditaskid), "job_execution_params": None}


def rows(tx: sa.Connection, tasks: Sequence[Any]) -> list[dict[str, Any]]:
    """Tasks with the counts of their inputs, the command lines that made them, and the commands that wait."""
    ids = [task.jeditaskid for task in tasks]
    counts, lines = task_queries.file_counts(tx, ids), task_queries.command_lines(tx, ids)
    waiting = task_queries.queued_commands(tx, ids)
    return [
        {
            **task_rows.task_row(task, counts.get(task.jeditaskid)),
            "task_creation_arguments": lines.get(task.jeditaskid),
            "pendingCommands": waiting.get(task.jeditaskid, []),
        }
        for task in tasks
    ]


def contrasts(tx: sa.Connection, jeditaskid: int) -> tuple[Tally, list[dict[str, Any]]]:
    """How many jobs of a task failed and finished, and what the failed ones have in common; raises `NotFound`."""
    tasks_sql.get_task(tx, jeditaskid)
    tallies, whole = contrasts_sql.tallies(tx, jeditaskid)
    found = find_contrasts(tallies, all_failed=whole.failed, all_succeeded=whole.succeeded)
    return whole, [task_rows.contrast_row(contrast) for contrast in found]


def modified_since(
    tx: sa.Connection, since: datetime, user_name: str, label: str | None, min_task_id: int | None
) -> list[dict[str, Any]]:
    """The tasks of a user that changed since a moment, the newest first."""
    columns = {"user_name": [user_name], **({"prod_source_label": [label]} if label else {})}
    wanted = Selection(columns, modified_since=since, after=min_task_id)
    return rows(tx, task_queries.list_tasks(tx, wanted, limit=MAX_TASKS))


def summary(tx: sa.Connection, jeditaskid: int, *, with_parameters: bool, with_status: bool) -> dict[str, Any]:
    """What a task reads and writes, and its jobs; raises `NotFound`."""
    task = tasks_sql.get_task(tx, jeditaskid)
    known = datasets_sql.of_task(tx, jeditaskid)
    jobs = job_queries.kinds_of_task(tx, jeditaskid)
    merging = [job for job in jobs if job.processing_type == "pmerge"]
    details: dict[str, Any] = {
        "inDS": ",".join(dataset.dataset_name for dataset in known if dataset.type in INPUT_TYPES),
        "outDS": ",".join(dataset.dataset_name for dataset in known if dataset.type not in INPUT_TYPES),
        "statistics": _statistics(job for job in jobs if job not in merging),
        "PandaID": [job.pandaid for job in jobs if job not in merging],
        "mergeStatus": _statistics(merging),
        "mergePandaID": [job.pandaid for job in merging],
    }
    if with_status:
        details["status"] = task.status
    if with_parameters:
        details["taskParams"] = tasks_sql.get_parameters(tx, jeditaskid)
    return details


def _statistics(jobs: Any) -> str:
    """`finished*2,running*1`."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.status] = counts.get(job.status, 0) + 1
    return ",".join(f"{status}*{n}" for status, n in sorted(counts.items()))


def datasets_and_files(tx: sa.Connection, jeditaskid: int, types: Sequence[str]) -> list[dict[str, Any]]:
    """Datasets of the given kinds with their files: those of inputs are the task's, those of outputs its jobs'."""
    known = [dataset for dataset in datasets_sql.of_task(tx, jeditaskid) if dataset.type in types]
    inputs = [dataset.datasetid for dataset in known if dataset.type in INPUT_TYPES]
    found = task_queries.files_of_datasets(tx, inputs, limit=MAX_FILES) if inputs else {}
    for dataset in known:
        if dataset.datasetid not in found:
            found[dataset.datasetid] = job_queries.outputs_of_dataset(tx, dataset.datasetid, limit=MAX_FILES)
    return [
        {
            "dataset": {"name": dataset.dataset_name, "id": dataset.datasetid},
            "files": [
                {"lfn": file.lfn, "scope": file.scope, "id": file.fileid, "status": file.status}
                for file in found[dataset.datasetid]
            ],
        }
        for dataset in known
    ]


def describe(tx: sa.Connection, jobs: Sequence[Any]) -> list[dict[str, Any]]:
    """Job objects: every attribute that PanDA has, null where we have none, and `Files`."""
    ids = [job.pandaid for job in jobs]
    parameters, files = job_queries.parameters_of(tx, ids), job_queries.files_by_job(tx, ids)
    nothing = dict.fromkeys(JOB_ATTRIBUTES)
    return [
        {
            **nothing,
            **task_rows.job_row(job),
            "jobDefinitionID": job.jeditaskid,
            "taskID": job.jeditaskid,
            "reqID": job.jeditaskid,
            "jobsetID": job.jeditaskid,
            "prodUserID": job.user_name,
            "jobName": f"{job.jeditaskid}.{job.serial_nr:06d}",
            "jobParameters": parameters.get(job.pandaid),
            "Files": [_file(file) for file in files.get(job.pandaid, ())],
        }
        for job in jobs
    ]


def _file(file: Any) -> dict[str, Any]:
    is_input = file.type in INPUT_TYPES
    return {
        **dict.fromkeys(FILE_ATTRIBUTES),
        "rowID": file.row_id,
        "PandaID": file.pandaid,
        "GUID": file.guid,
        "lfn": file.lfn,
        "type": file.type,
        "dataset": file.dataset_name,
        "status": file.status,
        "prodDBlock" if is_input else "destinationDBlock": file.dataset_name,
        "destinationSE": file.storage,
        "fsize": file.size_bytes,
        "checksum": file.checksum,
        "scope": file.scope,
    }
