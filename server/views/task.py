"""The page of a task: where it is, what it does, what went wrong, and who must act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from flask import Response, request

from ...core.forecast import Forecast, forecast
from ...core.states import JOBS, TASKS, TaskState
from ...sql import datasets, decisions, page_queries, task_queries
from ...sql import tasks as tasks_sql
from .. import task_commands, task_details, task_rows
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from ..task_rows import small
from .chart import histogram
from .family import tree
from .scouted import scouted
from .show import go_to, routes, show
from .viewer import is_user, viewer
from .words import path

#: What only users see: people write all sorts of things into command lines.
FOR_USERS = ("raw_task_params", "task_creation_arguments")
#: Events of a task that its page shows.
SHOWN_EVENTS = 100
#: Jobs that take less are shown in seconds.
SHORT_SECONDS = 300


class Asked(Query):
    jeditaskid: int | None = None


@routes.get("/task")
@routes.get("/task/")
@open_to(NOBODY)
@reads(Asked)
def task_by_query(asked: Asked) -> Response:
    """The page of the task that the query names."""
    query = request.query_string.decode("latin-1")
    number = asked.jeditaskid or next((word for word in query.split("&") if word.isdigit()), None)
    return go_to("/tasks/" if number is None else path("task", number))


@routes.get("/task/<int:task_id>/")
@open_to(NOBODY)
def task(task_id: int) -> Response:
    """A task with everything that explains its state."""
    with context().reading() as tx:
        row = tasks_sql.get_task(tx, task_id)
        data: dict[str, Any] = {
            "task": small(task_details.row(tx, task_id)),
            "meaning": TASKS.rows[TaskState(row.status)].meaning,
            "next": TASKS.rows[TaskState(row.status)].mover,
            "is_over": row.status in TASKS.final,
            "jobs": task_queries.job_counts(tx, task_id),
            "sites": by_queue(page_queries.jobs_by(tx, task_id, "queue", "status")),
            "datasets": [task_rows.dataset_row(one) for one in datasets.of_task(tx, task_id)],
            "decisions": [task_rows.decision_row(one) for one in decisions.of_task(tx, task_id)],
            "errors": [task_rows.error_row(group) for group in task_queries.error_groups(tx, task_id)],
            "events": [task_rows.event_row(one) for one in task_queries.events_of(tx, task_id, limit=SHOWN_EVENTS)],
            "family": [one._asdict() for one in page_queries.family(tx, task_id)],
            "commands": [one._asdict() for one in page_queries.commands_of(tx, task_id)],
        }
        figures = page_queries.job_figures(tx, task_id)
        ahead = _ahead(tx, row, data["task"], data["jobs"].get("finished", 0))
    if not is_user():
        data["task"] = {name: value for name, value in data["task"].items() if name not in FOR_USERS}
    shown = {**data, "forecast": asdict(ahead) if ahead else None}
    who = viewer()
    more = {
        "histograms": _histograms(row, figures),
        "verbs": _verbs(row) if who is not None and who.may_own(row.user_name, row.vo) else {},
        "may_see": who is not None and who.may_own(row.user_name, row.vo),
        "job_states": list(JOBS.rows),
        "scouted": scouted(data["decisions"]),
        "relatives": tree(data["family"]),
    }
    return show("task.html", f"Task {task_id}", {**shown, **more}, rows=shown)


def by_queue(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Jobs by queue and state: [{queue, n, states: {status: n}}], those with the most first."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.queue, {})[row.status] = row.n
    listed = [{"queue": queue, "n": sum(states.values()), "states": states} for queue, states in found.items()]
    return sorted(listed, key=lambda one: -int(str(one["n"])))


def _ahead(tx: sa.Connection, row: Any, shown: Mapping[str, Any], n_finished: int) -> Forecast | None:
    if row.status in TASKS.final:
        return None
    left = shown["nfiles"] - shown["nfilesfinished"] - shown["nfilesfailed"] - shown["nfilesmissing"]
    done = page_queries.last_done(tx, row.jeditaskid)
    if not any(n for _, n in done):  # numbers instead of files, of which jobs do not tell how many they have
        each = max(1, round(shown["nfilesfinished"] / max(1, n_finished)))
        done = [(moment, each) for moment, _ in done]
    return forecast(left, done, now=context().now())


def _histograms(row: Any, figures: Iterable[Any]) -> list[Any]:
    """How much memory and time the task's jobs took."""
    seen = list(figures)
    over = [one for one in seen if one.ended_at is not None]
    seconds = [(one.status, (one.ended_at - one.started_at).total_seconds()) for one in over]
    unit, length = ("minutes", 60) if max((n for _, n in seconds), default=0) > SHORT_SECONDS else ("seconds", 1)
    times = [(status, n / length) for status, n in seconds]
    memory = [(one.status, (one.max_pss_kb or one.max_rss_kb or 0) / 1024 or None) for one in seen]
    limit = row.max_walltime_seconds / length or None
    return [
        one
        for one in (
            histogram("Wall time", unit, times, mark=limit, mark_name="limit"),
            histogram("Memory", "MB", memory, mark=row.ram_count_mb or None, mark_name="asked for"),
        )
        if one is not None
    ]


def _verbs(row: Any) -> dict[str, str]:
    """The commands that can be given in this state, and what each does."""
    status = TaskState(row.status)
    return {name: verb.effect for name, verb in task_commands.VERBS.items() if status in verb.states}
