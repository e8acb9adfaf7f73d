"""/tasks/ and /jobs/: the queries that clients up to 1.7.1 send to the monitor (client protocol 12.4)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import Field

from ...sql import job_queries, task_queries
from .. import task_rows
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from ..envelope import as_json
from ..task_filters import filter_of

routes = Blueprint("monitor", __name__)

MAX_LISTED = 10_000
#: The filters by their names here.
FILTERS = {
    "jeditaskid": "jediTaskID",
    "reqid": "reqID",
    "username": "userName",
    "taskname": "taskName",
    "status": "status",
    "superstatus": "superStatus",
}


class Tasks(Query):
    limit: Annotated[int, Field(ge=1)] = 1000
    days: Annotated[int, Field(ge=0, le=10_000)] | None = None
    jeditaskid: str | None = None
    reqid: str | None = None
    username: str | None = None
    taskname: str | None = None
    status: str | None = None
    superstatus: str | None = None


class Jobs(Query):
    limit: Annotated[int, Field(ge=1)] = 1000
    jeditaskid: Annotated[int, Field(ge=1, le=2**63 - 1)]


@routes.get("/tasks/")
@open_to(NOBODY)
@reads(Tasks)
def tasks(asked: Tasks) -> Response:
    """Tasks of everybody, the newest first, with their inputs in `dsinfo`."""
    given = {ours: value for name, ours in FILTERS.items() if (value := getattr(asked, name)) is not None}
    since = None if asked.days is None else context().now() - timedelta(days=asked.days)
    wanted = filter_of(given, None, since=since)
    with context().reading() as tx:
        found = task_queries.list_tasks(tx, wanted, limit=min(asked.limit, MAX_LISTED))
        counts = task_queries.file_counts(tx, [task.jeditaskid for task in found])
    return as_json([_task(task_rows.task_row(task, counts.get(task.jeditaskid))) for task in found])


@routes.get("/jobs/")
@open_to(NOBODY)
@reads(Jobs)
def jobs(asked: Jobs) -> Response:
    """The jobs of a task."""
    with context().reading() as tx:
        found = job_queries.of_task(tx, asked.jeditaskid, limit=min(asked.limit, MAX_LISTED))
    return as_json({"jobs": [_lower(task_rows.job_row(job)) for job in found]})


def _task(row: dict[str, Any]) -> dict[str, Any]:
    lower = _lower(row)
    names = ("pctfinished", "pctfailed", "nfiles", "nfilesfinished", "nfilesfailed")
    return {**lower, "dsinfo": {name: lower[name] for name in names}}


def _lower(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the monitor writes it: small letters, moments as text in UTC."""
    return {
        key.lower(): value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
        for key, value in row.items()
    }
