"""The error explorer: failures of the last hours by cause, over time, by queue and by user."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from flask import Response
from pydantic import Field

from ...sql import history
from ...sql.history import ALL, Of
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from . import activity
from .chart import over_time
from .show import routes, show

#: Rows of the table of causes, and columns of that of queues.
SHOWN = 50
SHOWN_QUEUES = 12


class Asked(Query):
    hours: Annotated[float, Field(ge=1, le=24 * 90)] = 12
    cause: Annotated[str, Field(max_length=40)] | None = None
    queue: Annotated[str, Field(max_length=128)] | None = None
    user: Annotated[str, Field(max_length=128)] | None = None


@routes.get("/errors/")
@open_to(NOBODY)
@reads(Asked)
def failures(asked: Asked) -> Response:
    """Failures by cause, with what each means and who must act."""
    now = context().now()
    since = now - timedelta(hours=asked.hours)
    of = Of("queue", asked.queue) if asked.queue else Of("user_name", asked.user) if asked.user else ALL
    of = replace(of, cause=asked.cause)
    failed = replace(of, statuses=["failed"])
    with context().reading() as tx:
        begin = activity.begin(tx, since, now)
        of_all = activity.ended(tx, since, replace(of, cause=None))
        causes = activity.causes(tx, since, of, limit=SHOWN)
        by_time = history.endings(tx, "at", "cause", since=since, of=failed)
        places = Of("queue", asked.queue, ["failed"], asked.cause)
        by_place = [] if asked.user else history.endings(tx, "cause", "value", since=since, of=places)
        people = Of("user_name", asked.user, ["failed"], asked.cause)
        by_user = [] if asked.queue else history.endings(tx, "value", since=since, of=people)
        by_user = sorted(by_user, key=lambda row: -row.n_jobs)[:SHOWN]
    data = {
        "hours": asked.hours,
        "asked": {name: value for name, value in asked.model_dump().items() if value and name != "hours"},
        "n_failed": of_all.get("failed", 0),
        "n_ended": sum(of_all.values()),
        "causes": causes,
        "users": [{"user": row.value, "n": row.n_jobs} for row in by_user],
        **_matrix(by_place),
    }
    rows = ((row.at, row.cause or "no code", row.n_jobs) for row in by_time)
    chart = over_time("Failures by cause", "jobs", rows, since=begin, until=now, is_share=True)
    return show("failures.html", "Errors", {**data, "charts": [chart]}, rows=data)


def _matrix(rows: list[Any]) -> dict[str, Any]:
    """Causes by queues, those with the most failures."""
    by_queue: dict[str, int] = {}
    for row in rows:
        by_queue[row.value] = by_queue.get(row.value, 0) + row.n_jobs
    shown = sorted(by_queue, key=lambda queue: -by_queue[queue])[:SHOWN_QUEUES]
    cells: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.value in shown:
            cells.setdefault(row.cause, {})[row.value] = row.n_jobs
    return {"queues": [{"queue": queue, "n": by_queue[queue]} for queue in shown], "matrix": cells}
