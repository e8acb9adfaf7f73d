"""The list of tasks (manual ch. 4.3), with facets; and as old versions of `pbook` ask for it (client protocol 12.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from flask import Response

from ...core.states import TASKS
from ...sql import selection, task_queries
from ...sql.tables import tasks
from .. import task_rows
from ..auth.access import NOBODY, open_to
from ..context import context
from ..declared import reads
from ..task_rows import small
from .asked import LOOKED_AT, MAX_LISTED, TASK_FACETS, TasksAsked, notes
from .show import routes, show, wants_json

#: What the facets are about; names are too many to be one.
FACETS = {name: column for name, column in TASK_FACETS.items() if name != "taskname"}


@routes.get("/tasks/")
@open_to(NOBODY)
@reads(TasksAsked)
def list_of_tasks(asked: TasksAsked) -> Response:
    """Tasks of everybody, the newest first, with their inputs in `dsinfo`."""
    wanted = asked.selection(context().now())
    told = notes(asked, {"status": TASKS.rows})
    if wants_json():
        with context().reading() as tx:
            found = task_queries.list_tasks(tx, wanted, limit=min(asked.limit, MAX_LISTED))
            return show("tasks.html", "Tasks", {"notes": told}, rows=_rows(tx, found))
    how = {"shown": asked.display_limit, "looked_at": LOOKED_AT}
    with context().reading() as tx:
        listed = selection.listed(tx, tasks, "jeditaskid", wanted, list(FACETS.values()), **how)
        rows = _rows(tx, listed.rows)
    facets = {name: listed.facets[column] for name, column in FACETS.items()}
    more = rows[-1]["jeditaskid"] if len(rows) == asked.display_limit else None
    given = asked.model_dump(exclude_none=True, exclude_defaults=True)
    data = {"rows": rows, "facets": facets, "more": more, "asked": given, "looked_at": LOOKED_AT}
    return show("tasks.html", "Tasks", {**data, "notes": told})


def _rows(tx: sa.Connection, found: Sequence[Any]) -> list[dict[str, Any]]:
    inputs = task_queries.file_counts(tx, [task.jeditaskid for task in found])
    return [_row(task_rows.task_row(task, inputs.get(task.jeditaskid))) for task in found]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    lower = small(row)
    names = ("pctfinished", "pctfailed", "nfiles", "nfilesfinished", "nfilesfailed")
    return {**lower, "dsinfo": {name: lower[name] for name in names}}
