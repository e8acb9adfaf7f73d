"""The first page: what the grid does now, what it did lately, and what goes wrong."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated

from flask import Response
from pydantic import Field

from ...core.states import TASKS
from ...sql import counts, service_rounds, task_queries
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from . import activity
from .show import routes, show


class Asked(Query):
    hours: Annotated[float, Field(ge=1, le=24 * 90)] = 12


@routes.get("/")
@open_to(NOBODY)
@reads(Asked)
def dashboard(asked: Asked) -> Response:
    """Tasks and jobs by their states, throughput, running slots, and failures by cause."""
    hours = asked.hours
    now = context().now()
    since = now - timedelta(hours=hours)
    with context().reading() as tx:
        tasks = task_queries.counts_by_status(tx)
        n_jobs, counted_at = counts.lately(tx, now=now)
        charts = activity.charts(tx, since, now)
        running = activity.running(tx, now, "queue", "gshare", "user_name")
        data = {
            "hours": hours,
            "tasks": [
                {"status": state, "meaning": row.meaning, "n": tasks[state]}
                for state, row in TASKS.rows.items()
                if state in tasks
            ],
            "jobs": dict(sum(map(Counter, n_jobs.values()), Counter[str]())),
            "counted_at": counted_at,
            "sampled_at": running.sampled_at,
            "running": {name: rows[: activity.SHOWN] for name, rows in running.by.items()},
            "causes": activity.causes(tx, since),
            "ended": activity.ended(tx, since),
            "unwell": service_rounds.unwell(service_rounds.last_rounds(tx), now),
        }
    return show("dashboard.html", "Dashboard", {**data, "charts": charts}, rows=data)
