"""Tasks and jobs as the API shows them: PanDA's column names (client protocol 6.3, 6.6) and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..core.contrasts import Contrast
from ..core.job_errors import ENDED_BY_PILOT, ENDED_BY_SIGNAL, ENDED_WITH_PILOT, meaning_of, who_must_act
from ..core.panda_names import JOB_COLUMNS, TASK_COLUMNS
from ..core.pilot_errors import ENDED_WITH_PAYLOAD, PAYLOAD_KILLED
from ..core.plain_words import in_words
from ..core.states import TaskState
from ..sql.tables import ERROR_SOURCES
from ..sql.task_queries import ErrorGroup, FileCounts
from ..sql.tasks import SUSPENDED

_T = TaskState
#: PanDA's coarse states. A state that is not here is its own.
SUPER_STATES = {
    **dict.fromkeys((_T.REGISTERED, _T.DEFINED, _T.TORETRY, _T.TOINCEXEC, _T.REREFINE), "registered"),
    **dict.fromkeys((_T.ASSIGNING, _T.TOPREPROCESS, _T.PREPROCESSING, _T.READY), "ready"),
    **dict.fromkeys(
        (_T.SCOUTING, _T.SCOUTED, _T.RUNNING, _T.PASSED, _T.PREPARED, _T.FINISHING, _T.ABORTING, _T.EXHAUSTED),
        "running",
    ),
    _T.TOBROKEN: "broken",
}


def super_status(status: str, old_status: str | None) -> str:
    """PanDA's coarse state; a suspended task has that of the state it goes back to."""
    state = TaskState(status)
    if state in SUSPENDED:
        state = TaskState(old_status) if old_status else TaskState.RUNNING
    return SUPER_STATES.get(state, str(state))


def task_row(task: Any, counts: FileCounts | None) -> dict[str, Any]:
    """A task and what became of its main inputs."""
    counts = counts or FileCounts()
    return {
        **_named(task, TASK_COLUMNS),
        "superStatus": super_status(task.status, task.old_status),
        "nFiles": counts.n_files,
        "nFilesUsed": counts.n_files_used,
        "nFilesFinished": counts.n_files_finished,
        "nFilesFailed": counts.n_files_failed,
        "nFilesOnHold": counts.n_files_on_hold,
        "nFilesMissing": counts.n_files_missing,
        "pctFinished": _percent(counts.n_files_finished, counts.n_files),
        "pctFailed": _percent(counts.n_files_failed, counts.n_files),
    }


def dataset_row(dataset: Any) -> dict[str, Any]:
    return {
        "datasetID": dataset.datasetid,
        "name": dataset.dataset_name,
        "type": dataset.type,
        "streamName": dataset.stream_name,
        "status": dataset.status,
        "nFiles": dataset.n_files,
        "nFilesUsed": dataset.n_files_used,
        "nFilesFinished": dataset.n_files_finished,
        "nFilesFailed": dataset.n_files_failed,
        "nFilesOnHold": dataset.n_files_on_hold,
        "nFilesMissing": dataset.n_files_missing,
        "sizeBytes": dataset.size_bytes,
    }


def decision_row(decision: Any) -> dict[str, Any]:
    """A decision: `why` for people, `reasons` for programs."""
    reasons: Mapping[str, Any] = decision.why
    return {
        "when": decision.last_at,
        "actor": decision.actor,
        "what": decision.what,
        "why": "; ".join(f"{key}: {in_words(value)}" for key, value in reasons.items()),
        "reasons": reasons,
        "queue": decision.queue,
        "pandaid": decision.pandaid,
        "repeated": decision.repeated,
    }


def error_row(group: ErrorGroup) -> dict[str, Any]:
    """A cause of failures; `who` must act on it: user, site, operator, nobody, or unknown (null)."""
    return {
        "kind": group.kind,
        "source": group.source,
        "code": group.code,
        "diag": group.diag,
        "who": who_must_act(group.source, group.code, group.exit_code),
        "meaning": meaning_of(group.source, group.code, group.exit_code),
        "count": group.count,
        "example_job": group.example_job,
    }


def contrast_row(contrast: Contrast) -> dict[str, Any]:
    """A value that failed jobs have far more often than finished ones; `says` is that in words."""
    return {
        "attribute": contrast.attribute,
        "value": contrast.value,
        "nFailed": contrast.failed,
        "nFinished": contrast.succeeded,
        "ofFailures": contrast.of_failures,
        "ofSuccesses": contrast.of_successes,
        "chance": contrast.chance,
        "also": [{"attribute": attribute, "value": value} for attribute, value in contrast.also],
        "says": str(contrast),
    }


def job_errors(job: Any) -> list[dict[str, Any]]:
    """Every error that a job carries, with its meaning and who must act: user, site, operator, nobody or null.

    The exit code of a payload that ended with its pilot, or by it, is nobody's either.
    """
    values = job._mapping
    codes = {source: values[f"{source}_error_code"] for source in ERROR_SOURCES} | {"trans": values["trans_exit_code"]}
    stopped = values["pilot_error_code"] in ENDED_WITH_PAYLOAD
    killed = values["pilot_error_code"] in PAYLOAD_KILLED
    rows = []
    for source, code in codes.items():
        if not code:
            continue
        why = ENDED_WITH_PILOT if stopped else ENDED_BY_PILOT if killed and code in ENDED_BY_SIGNAL else ""
        is_of_pilot = bool(why) and source in ("exe", "trans")
        row = {
            "source": source,
            "code": code,
            "diag": values.get(f"{source}_error_diag") or "",
            "who": "nobody" if is_of_pilot else who_must_act(source, code, values["trans_exit_code"]),
            "meaning": why if is_of_pilot else meaning_of(source, code, values["trans_exit_code"]),
        }
        rows.append(row)
    return rows


def event_row(event: Any) -> dict[str, Any]:
    """A step of a task or a job from state to state."""
    row = {
        "when": event.at,
        "old": event.old_status,
        "new": event.new_status,
        "actor": event.actor,
        "why": event.why,
        "request_id": event.request_id,
    }
    return row | ({"attempt_nr": event.attempt_nr} if hasattr(event, "attempt_nr") else {})


def notification_row(row: Any, *, is_private: bool) -> dict[str, Any]:
    """An end of a task, and whether its user was told of it, how, or why not; to others not the address."""
    return {
        "when": row.at,
        "state": row.status,
        "delivery": row.delivery,
        "how": row.how if is_private else None,
        "attempts": row.attempts,
        "nextTryAt": row.next_try_at if row.delivery == "waiting" else None,
        "toldAt": row.told_at,
    }


def job_row(job: Any) -> dict[str, Any]:
    return _named(job, JOB_COLUMNS)


def file_row(file: Any) -> dict[str, Any]:
    return {
        "lfn": file.lfn,
        "type": file.type,
        "dataset": file.dataset_name,
        "status": file.status,
        "fsize": file.size_bytes,
        "checksum": file.checksum,
        "scope": file.scope,
        "guid": file.guid,
        "url": file.url,
        "storage": file.storage,
    }


def small(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as BigPanDA writes it: small letters, moments as text in UTC."""
    return {
        key.lower(): value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
        for key, value in row.items()
    }


def _named(row: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    values = row._mapping
    return {name: values[column] for name, column in columns.items()}


def _percent(part: int, whole: int) -> int:
    return 100 * part // whole if whole else 0
