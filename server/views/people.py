"""Users: their tasks, what they run, and what they used."""

from __future__ import annotations

from datetime import timedelta

from flask import Response

from ...sql import history, page_queries, task_queries
from ...sql.history import Of
from ...sql.selection import Selection
from .. import task_rows
from ..auth.access import NOBODY, open_to
from ..context import context
from ..task_rows import small
from . import activity
from .show import routes, show

PAST = timedelta(days=7)
SHOWN_USERS = 500
SHOWN_TASKS = 50


@routes.get("/users/")
@open_to(NOBODY)
def list_of_users() -> Response:
    """Users by their last task, with what they used in a week."""
    now = context().now()
    since = now - PAST
    with context().reading() as tx:
        used = {row.value: row for row in history.endings(tx, "value", since=since, of=Of("user_name"))}
        found = activity.running(tx, now, "user_name").by["user_name"]
        running = {one["name"]: one["n_cores"] for one in found}
        rows = [
            {
                "user": row.user_name,
                "n_tasks": row.n_tasks,
                "n_active": row.n_active,
                "last_at": row.last_at,
                "running_cores": running.get(row.user_name, 0),
                "jobs_week": used[row.user_name].n_jobs if row.user_name in used else 0,
                "core_hours_week": round(used[row.user_name].core_seconds / 3600, 1) if row.user_name in used else 0,
            }
            for row in page_queries.tasks_by_user(tx, limit=SHOWN_USERS)
        ]
    return show("users.html", "Users", {"rows": rows}, rows=rows)


@routes.get("/user/<path:name>/")
@open_to(NOBODY)
def user(name: str) -> Response:
    """One user."""
    now = context().now()
    since, mine = now - PAST, Of("user_name", name)
    with context().reading() as tx:
        found = task_queries.list_tasks(tx, Selection({"user_name": [name]}), limit=SHOWN_TASKS)
        inputs = task_queries.file_counts(tx, [task.jeditaskid for task in found])
        charts = activity.charts(tx, since, now, mine)
        causes = activity.causes(tx, since, mine)
    data = {
        "user": name,
        "notes": [] if found else [f"nobody who has tasks is called {name}: capitals matter, and /users/ lists all"],
        "tasks": [small(task_rows.task_row(task, inputs.get(task.jeditaskid))) for task in found],
        "causes": causes,
    }
    return show("user.html", name, {**data, "charts": charts, "hours": PAST.total_seconds() / 3600}, rows=data)
