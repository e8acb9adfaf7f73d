"""Asking why, for a request: whether its caller may know, the plugins that decide, and one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.why import Why
from ...sql import job_queries
from ...sql import tasks as tasks_sql
from ..context import context
from ..identity import caller


def of_task(task_id: int, changes: Sequence[str]) -> Why:
    """Why a task is where it is, for its owner and whoever stands above owners; raises `NotAllowed`, `NotFound`."""
    from .task import why_task  # brokers and all: loaded when somebody asks

    plugins, now = context().plugins(), context().now()
    with context().reading() as tx:
        row = tasks_sql.get_task(tx, task_id)
        caller().must_own(f"task {task_id}", row.user_name, row.vo)
        return why_task(tx, plugins, task_id, changes, now=now)


def of_job(pandaid: int, changes: Sequence[str]) -> Why:
    """Why a job is where it is, for its owner and whoever stands above owners; raises `NotAllowed`, `NotFound`."""
    from .job import why_job  # the same

    plugins, now = context().plugins(), context().now()
    with context().reading() as tx:
        row = job_queries.find_job(tx, pandaid)
        caller().must_own(f"job {pandaid}", row.user_name, row.vo)
        return why_job(tx, plugins, pandaid, changes, now=now)


def of_queue(name: str, changes: Sequence[str]) -> Why:
    """Why a queue gets the work that it gets, or none; raises `NotFound`."""
    from .queue import why_queue  # the same

    plugins, now = context().plugins(), context().now()
    with context().reading() as tx:
        return why_queue(tx, plugins, name, changes, now=now)
