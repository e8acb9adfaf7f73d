"""A task as one HTML file for a ticket: what happened, why, who must act, and the evidence, without secrets."""

from __future__ import annotations

import json
import platform
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from .. import __version__
from ..core.redaction import Redaction
from ..core.states import TASKS, TaskState
from .api import Client
from .errors import Refused
from .html import render
from .model import ErrorGroup, TaskInfo
from .naming import FILE_PREFIX

T = TypeVar("T")

_TASK_WORDS = """
jediTaskID taskName errorDialog userName vo creationDate startTime endTime task_creation_arguments nFiles
nFilesFinished nFilesFailed nFilesOnHold
"""
TASK_KEYS = tuple(_TASK_WORDS.split())
JOB_KEYS = ("PandaID", "computingSite", "node", "attemptNr", "startTime", "endTime", "retryRule", "stdoutTail")
DATASET_COLUMNS = ("type", "name", "status", "n_files", "n_files_finished", "n_files_failed", "n_files_on_hold")

#: So many causes of failures are told, each with an example.
MOST_CAUSES = 10
#: A comparison with a job that finished is made for so many of them.
MOST_COMPARED = 3
#: What a server may not tell: it is of somebody else, there is nothing to compare, or the server is an older one.
_UNTOLD = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


def task_report(client: Client, task_id: int) -> str:
    """The report of a task as HTML. Raises `Refused` (status 404) or `NotFound` if there is none."""
    info = client.task_info(task_id)
    told = Redaction(_known_secrets(client)).document(_told(client, info))
    parameters = json.dumps(told["parameters"], indent=1, ensure_ascii=False, default=str)
    return render("task_report.html", **{**told, "parameters": parameters})


def _told(client: Client, info: TaskInfo) -> dict[str, Any]:
    """Everything that the report says, before secrets are taken out."""
    state = TASKS.rows[TaskState(info.status)] if info.status in set(TaskState) else None
    why = _if_told(lambda: client.why("task", info.task_id))
    contrasts = _if_told(lambda: client.contrasts(info.task_id)) or []
    return {
        "task": dict.fromkeys(TASK_KEYS) | {key: info.row[key] for key in TASK_KEYS if key in info.row},
        "state": info.state,
        "meaning": state.meaning if state else "",
        "mover": state.mover if state else "",
        "jobs": ", ".join(f"{number} {status}" for status, number in info.jobs.items()),
        "stopped_by": why.stopped_by if why else "",
        "steps": [(step.who, "passes" if step.passes else "stops it", step.says) for step in why.steps] if why else [],
        "contrasts": [contrast.says for contrast in contrasts],
        "failures": [_failure(client, group, at) for at, group in enumerate(info.errors[:MOST_CAUSES])],
        "n_more": max(0, len(info.errors) - MOST_CAUSES),
        "datasets": [tuple(getattr(dataset, name) for name in DATASET_COLUMNS) for dataset in info.datasets],
        "decisions": [(one.when, one.actor, one.what, one.why) for one in info.decisions],
        "events": [(one.when, f"{one.old or 'new'} → {one.new}", one.actor, one.why) for one in info.events],
        "parameters": client.task_parameters(info.task_id),
        "made_at": datetime.now(UTC),
        "versions": {
            "client": __version__,
            "python": platform.python_version(),
            "url": client.transport.url,
            "server": (_if_told(lambda: client.transport.get("system/is_alive")) or {}).get("version"),
        },
    }


def _failure(client: Client, group: ErrorGroup, at: int) -> dict[str, Any]:
    """A cause of failures with its example, and for the most frequent ones what differs from a job that finished."""
    job = _if_told(lambda: client.job(group.example_job)) if group.example_job else None
    compared = _if_told(lambda: client.compare(group.example_job)) if job and at < MOST_COMPARED else None
    return {
        **asdict(group),
        "job": job and {key: job.row.get(key) for key in JOB_KEYS},
        "other": compared and compared.jobs[1].job_id,
        "differences": [(one.part, one.name, one.a, one.b) for one in compared.differences] if compared else [],
    }


def _if_told(ask: Callable[[], T]) -> T | None:
    """What the server says, or None for what it does not tell us."""
    try:
        return ask()
    except Refused as error:
        if error.status not in _UNTOLD:
            raise
        return None


def _known_secrets(client: Client) -> list[str]:
    """The secrets that the caller keeps for jobs, those in files line by line, and the caller's own token."""
    try:
        kept = client.secrets()
    except Refused:  # the server keeps none
        kept = {}
    known = [client.transport.identity.token, *kept.values()]
    for name, value in kept.items():
        if name.startswith(FILE_PREFIX):
            with suppress(ValueError):
                known += b64decode(value).decode("utf-8", "replace").splitlines()
    return known
