"""Why a task, a job or a queue is where it is, and commands on tasks: for those whom it concerns."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from ...core.errors import NotFound
from ...core.states import JOBS, TASKS
from ...core.why import Why
from .. import task_commands
from ..api.task import give
from ..auth.access import ADMIN, OF_JOB, OF_TASK, open_to
from ..bodies import CHANGES, WORDS, Query
from ..declared import reads
from ..why import asking
from .show import go_to, routes, show
from .words import path


class Asked(Query):
    changes: Annotated[list[str], WORDS] = Field([], max_length=100, description=CHANGES)


@routes.get("/task/<int:task_id>/why/")
@open_to(OF_TASK)
@reads(Asked)
def why_of_task(asked: Asked, task_id: int) -> Response:
    """Everybody who decides about a task, in turn."""
    return _shown(asking.of_task(task_id, asked.changes), path("task", task_id))


@routes.get("/job/<int:pandaid>/why/")
@open_to(OF_JOB)
@reads(Asked)
def why_of_job(asked: Asked, pandaid: int) -> Response:
    """Everybody who decides about a job, in turn."""
    return _shown(asking.of_job(pandaid, asked.changes), path("job", pandaid))


@routes.get("/queue/<path:name>/why/")
@open_to(ADMIN)
@reads(Asked)
def why_of_queue(asked: Asked, name: str) -> Response:
    """Why a queue gets the work that it gets: for administrators, as it tells of everybody's tasks."""
    found = asking.of_queue(name, asked.changes)
    return _shown(found, path("queue", name), f"Why queue {name} gets its work")


def _shown(why: Why, back: str, title: str = "") -> Response:
    is_over = why.status in {*JOBS.final, *TASKS.final}
    data = {"why": why.row(), "back": back, "is_over": is_over}
    return show("why.html", title or f"Why {why.subject} is {why.status}", data)


@routes.post("/task/<int:task_id>/command/<verb>")
@open_to(OF_TASK)
def command(task_id: int, verb: str) -> Response:
    """Give a command, and show the task again."""
    if verb not in task_commands.VERBS:
        raise NotFound(f"there is no command {verb[:40]!r}")
    more = {"reactivate": {"failed_too": True}, "finish": {"soft": False}}
    give(verb, task_id, more.get(verb))
    return go_to(path("task", task_id))
