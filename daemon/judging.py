"""What becomes of a job whose pilot has reported its end (manual ch. 7.2.3, Adder)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.job_errors import (
    KILLED,
    NO_REASON,
    OUTPUTS_FOREIGN,
    OUTPUTS_INCOMPLETE,
    OUTPUTS_MISSING,
    JobError,
)
from ..core.states import JobState
from ..sql.accounting import MadeFile
from ..sql.tables import ERROR_SOURCES, INPUT_TYPES

#: What the job's definition says where there is nothing, and what pilots may send back.
UNSET = "NULL"
_ADLER32 = re.compile(r"[0-9a-f]{1,8}")
#: How many file names a diagnostic text names before it only counts.
_NAMED_FILES = 5


@dataclass(frozen=True)
class Verdict:
    """The final state of a job, the outputs that it made, and the errors to enter."""

    to: JobState
    why: str
    made: tuple[MadeFile, ...] = ()
    errors: Mapping[str, Any] = field(default_factory=dict)


#: Why a merge job that did its work ends as cancelled.
RUN_JOBS_ENDED = "run jobs whose outputs it merged were ended meanwhile"


def judge(
    job: Any, job_files: Sequence[Any], report: Mapping[str, Mapping[str, Any]], *, left_alone: bool = False
) -> Verdict:
    """Judge a row of `jobs` by its files and its output report, {lfn: {guid, fsize, adler32, surl, endpoint}}.

    It is finished when the pilot says so and every output that must be there is reported with guid (it may be empty),
    size and adler32, and no file is reported that the job does not own. Of any other job only a complete log counts as
    made. A merge job that is `left_alone` (`merging.left_alone`) is not finished, for its inputs are not its any more.
    """
    outputs = [row for row in job_files if row.type not in INPUT_TYPES]
    if job.is_event_service:  # what it makes is reported range by range
        outputs = [row for row in outputs if row.type != "tmpl_output"]
    made = {row.lfn: file for row in outputs if (file := _made(row, report.get(row.lfn))) is not None}
    logs = tuple(made[row.lfn] for row in outputs if row.type == "log" and row.lfn in made)
    if job.reported_status != JobState.FINISHED:
        return _not_finished(job, logs)
    fault = _fault_of_outputs(job_files, outputs, made, report)
    if fault is None:
        if left_alone:
            return Verdict(JobState.CANCELLED, RUN_JOBS_ENDED, logs, KILLED.columns(RUN_JOBS_ENDED))
        if job.to_be_merged:
            return Verdict(JobState.MERGING, "finished; its outputs wait to be merged", tuple(made.values()))
        return Verdict(JobState.FINISHED, "finished with all outputs", tuple(made.values()))
    error, names = fault
    diag = f"{error.meaning}: {_some(names)}"
    return Verdict(JobState.FAILED, diag, logs, error.columns(diag))


def errors_of(job: Any, errors: Mapping[str, Any] | None = None) -> list[tuple[str, int, str]]:
    """The errors of a job as (source, code, text): those of its row, and those about to be entered."""
    new = errors or {}

    def column(name: str) -> Any:
        return new.get(name, getattr(job, name))

    return [
        (source, int(column(f"{source}_error_code")), column(f"{source}_error_diag") or "")
        for source in ERROR_SOURCES
        if column(f"{source}_error_code")
    ]


def _not_finished(job: Any, logs: tuple[MadeFile, ...]) -> Verdict:
    if job.command_to_pilot == "tobekilled":
        return Verdict(JobState.CANCELLED, KILLED.meaning, logs, KILLED.columns(KILLED.meaning))
    told = errors_of(job)
    if told:
        source, code, diag = told[0]
        return Verdict(JobState.FAILED, f"{source} error {code}: {diag}", logs)
    diag = f"{NO_REASON.meaning} (exit code {job.trans_exit_code})"
    return Verdict(JobState.FAILED, diag, logs, NO_REASON.columns(diag))


def _fault_of_outputs(
    job_files: Sequence[Any], outputs: Sequence[Any], made: Mapping[str, MadeFile], report: Mapping[str, Any]
) -> tuple[JobError, list[str]] | None:
    foreign = sorted(report.keys() - {row.lfn for row in job_files})
    if foreign:
        return OUTPUTS_FOREIGN, foreign
    incomplete = [row.lfn for row in outputs if row.lfn in report and row.lfn not in made]
    if incomplete:
        return OUTPUTS_INCOMPLETE, incomplete
    missing = [row.lfn for row in outputs if row.lfn not in report and not row.may_be_missing]
    return (OUTPUTS_MISSING, missing) if missing else None


def _made(row: Any, told: Mapping[str, Any] | None) -> MadeFile | None:
    """The output as the report gives it; None when size or checksum makes no sense, or one of its keys is missing."""
    if not isinstance(told, dict):
        return None
    adler32, size = str(told.get("adler32") or "").lower(), str(told.get("fsize", ""))
    if "guid" not in told or not size.isdecimal() or not _ADLER32.fullmatch(adler32):
        return None
    return MadeFile.of(
        row,
        guid=_guid(row, told["guid"]),
        size_bytes=int(size),
        checksum=f"ad:{adler32:0>8}",
        url=str(told.get("surl") or ""),
        storage=told.get("endpoint") or None,
    )


def _guid(row: Any, told: object) -> str:
    """The guid that the pilot has made, or one that is the same each time: PanDA's pilot leaves it to us (18.5)."""
    if told and told != UNSET:
        return str(told)
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{row.pandaid}/{row.lfn}"))


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_FILES
    return ", ".join(names[:_NAMED_FILES]) + (f" and {more} more" if more > 0 else "")
