"""/api/v1/queue/: the queues that pilots work for."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import Field

from ...sql import counts, queue_history, queues
from ...sql.queue_values import Layers
from ..auth.access import ADMIN, USER, open_to
from ..bodies import CHANGES, WORDS, Body, Query
from ..context import context
from ..declared import reads
from ..envelope import said, succeeded
from ..identity import caller
from ..why import asking

routes = Blueprint("queue", __name__)

QueueName = Annotated[str, Field(min_length=1, max_length=128)]


class OneQueue(Query):
    queue: QueueName


class AskedWhy(OneQueue):
    changes: Annotated[list[str], WORDS] = Field([], max_length=100, description=CHANGES)


class Past(OneQueue):
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


class Change(Body):
    queue: QueueName
    attributes: dict[str, Any] = Field(description="by the keys of queue documents")
    unset: list[str] = Field(
        default_factory=list, max_length=1000, description="keys that were set by hand and shall be so no more"
    )


class Removal(Body):
    queue: QueueName


@routes.get("/list")
@open_to(USER)
def list_queues() -> Response:
    """All queues, with how many jobs each has in which state, and when these were counted if it was not just now."""
    now = context().now()
    with context().reading() as tx:
        n_jobs, counted_at = counts.lately(tx, now=now)
        found = queues.list_queues(tx)
    when = {} if counted_at is None else {"jobs_counted_at": counted_at}
    return succeeded([{**queues.queue_document(row), "jobs": n_jobs.get(row.queue, {}), **when} for row in found])


@routes.get("/get")
@open_to(USER)
@reads(OneQueue)
def get_queue(asked: OneQueue) -> Response:
    """One queue; `origins` says for each key where its value is from."""
    name = asked.queue
    with context().reading() as tx:
        row = queues.get_queue(tx, name)
        n_jobs = counts.by_queue_now(tx, name)
    origins = {key: one.origin for key, one in sorted(Layers.of_row(row).values().items())}
    more = {"storage": row.storage, "jobs": n_jobs.get(name, {}), "origins": origins}
    return succeeded({**queues.queue_document(row), **more})


@routes.get("/why")
@open_to(ADMIN)
@reads(AskedWhy)
def why(asked: AskedWhy) -> Response:
    """Why a queue gets the work that it gets, or none: for administrators, as it tells of everybody's tasks."""
    return succeeded(asking.of_queue(asked.queue, asked.changes).row())


@routes.get("/history")
@open_to(USER)
@reads(Past)
def get_history(asked: Past) -> Response:
    """The last changes of a queue, newest first."""
    with context().reading() as tx:
        found = queue_history.of_queue(tx, asked.queue, limit=asked.limit)
        if not found:  # a queue that was removed has a history still
            queues.get_queue(tx, asked.queue)
    keys = ("at", "actor", "what", "source", "before", "after")
    return succeeded([{key: getattr(row, key) for key in keys} for row in found])


@routes.post("/set")
@open_to(ADMIN)
@reads(Change)
def set_queue(body: Change) -> Response:
    """Enter a queue, set some of its attributes by hand, or give back what was set by hand."""
    now, actor = context().now(), caller().user_name
    with context().writing() as tx:
        is_new = queues.set_queue(tx, body.queue, body.attributes, now=now, actor=actor, unset=body.unset)
    if is_new:
        return said(f"queue {body.queue} is new")
    released = [f"{', '.join(body.unset)} given back"] if body.unset else []
    return said(f"queue {body.queue}: " + ", ".join((["set"] if body.attributes else []) + released or ["no change"]))


@routes.post("/remove")
@open_to(ADMIN)
@reads(Removal)
def remove_queue(body: Removal) -> Response:
    """Remove a queue without jobs that no document has."""
    name = body.queue
    with context().writing() as tx:
        queues.remove_queue(tx, name, now=context().now(), actor=caller().user_name)
    return said(f"queue {name} is removed")
