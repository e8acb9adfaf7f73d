"""Why a task, a job or a queue is where it is, and commands on tasks: for those whom it concerns."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from ...core.errors import NotFound
from ...sql import job_queries
from ...sql import tasks as tasks_sql
from .. import task_commands
from ..auth.access import ADMIN, OF_JOB, OF_TASK, open_to
from ..bodies import CHANGES, WORDS, Query
from ..context import context, request_id
from ..declared import reads
from ..identity import caller
from .show import go_to, routes, show
from .words import path


class Asked(Query):
    changes: Annotated[list[str], WORDS] = Field([], max_length=100, description=CHANGES)


@routes.get("/task/<int:task_id>/why/")
@open_to(OF_TASK)
@reads(Asked)
def why_of_task(asked: Asked, task_id: int) -> Response:
    """Everybody who decides about a task, in turn."""
    from ..why.task import why_task  # brokers and all: loaded when somebody asks

    plugins, now = context().plugins(), context().now()
    with context().reading() as tx:
        row = tasks_sql.get_task(tx, task_id)
        caller().must_own(f"task {task_id}", row.user_name, row.vo)
        found = why_task(tx, plugins, task_id, asked.changes, now=now).row()
    return show("why.html", f"Why task {task_id} is {row.status}", {"why": found, "back": path("task", task_id)})


@routes.get("/job/<int:pandaid>/why/")
@open_to(OF_JOB)
@reads(Asked)
def why_of_job(asked: Asked, pandaid: int) -> Response:
    """Everybody who decides about a job, in turn."""
    from ..why.job import why_job  # the same

    plugins, now = context().plugins(), context().now()
    with context().reading() as tx:
        row = job_queries.find_job(tx, pandaid)
        caller().must_own(f"job {pandaid}", row.user_name, row.vo)
        found = why_job(tx, plugins, pandaid, asked.changes, now=now).row()
    return show("why.html", f"Why job {pandaid} is {row.status}", {"why": found, "back": path("job", pandaid)})


@routes.get("/queue/<path:name>/why/")
@open_to(ADMIN)
@reads(Asked)
def why_of_queue(asked: Asked, name: str) -> Response:
    """Why a queue gets the work that it gets: for administrators, as it tells of everybody's tasks."""
    from ..why.queue import why_queue  # the same

    plugins, now = context().plugins(), context().now()
    with context().reading() as tx:
        found = why_queue(tx, plugins, name, asked.changes, now=now).row()
    return show("why.html", f"Why queue {name} gets its work", {"why": found, "back": path("queue", name)})


@routes.post("/task/<int:task_id>/command/<verb>")
@open_to(OF_TASK)
def command(task_id: int, verb: str) -> Response:
    """Give a command, and show the task again."""
    if verb not in task_commands.VERBS:
        raise NotFound(f"there is no command {verb[:40]!r}")
    now, user = context().now(), caller()
    with context().writing() as tx:
        task_commands.give(
            tx,
            verb,
            task_id,
            caller=user,
            section=context().settings.server,
            now=now,
            request_id=request_id(),
            parameters={"failed_too": True} if verb == "reactivate" else {"soft": False} if verb == "finish" else None,
        )
    return go_to(path("task", task_id))
