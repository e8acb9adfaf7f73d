"""The search box: an id, a name of a task, dataset, queue or user."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response
from pydantic import Field

from ...sql import catalogue, page_queries, queues, task_queries
from ...sql.selection import Selection
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from .show import go_to, routes, show
from .words import address, path

SHOWN = 20


class Asked(Query):
    q: Annotated[str, Field(max_length=255)] = ""


@routes.get("/search")
@open_to(NOBODY)
@reads(Asked)
def search(asked: Asked) -> Response:
    """The page of what is meant, or what it may be."""
    word = asked.q.strip()
    with context().reading() as tx:
        if word.isascii() and word.isdigit() and len(word) < 19:
            if page_queries.has_task(tx, int(word)):
                return go_to(path("task", word))
            if page_queries.has_job(tx, int(word)):
                return go_to(path("job", word))
        pattern = word if "*" in word else f"*{word}*"
        found: dict[str, list[Any]] = {
            "tasks": task_queries.list_tasks(tx, Selection({"task_name": [pattern]}), limit=SHOWN) if word else [],
            "users": page_queries.users_like(tx, pattern, limit=SHOWN) if word else [],
            "queues": [name for name in sorted(queues.names(tx)) if word and word.lower() in name.lower()][:SHOWN],
            "datasets": [row.name for row in catalogue.list_datasets(tx, pattern=pattern, limit=SHOWN)] if word else [],
        }
    places = [
        *((path("task", row.jeditaskid), f"task {row.jeditaskid}", row.task_name) for row in found["tasks"]),
        *((path("user", name), "user", name) for name in found["users"]),
        *((path("queue", name), "queue", name) for name in found["queues"]),
        *((address("/dataset/", datasetname=name), "dataset", name) for name in found["datasets"]),
    ]
    rows = [{"address": place, "kind": kind, "name": name} for place, kind, name in places]
    if len(rows) == 1:
        return go_to(rows[0]["address"])
    return show("search.html", "Search", {"rows": rows, "q": word}, rows=rows)
