"""What keeps the system going: decisions, agents and chores with their leases, settings, and who changed what."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from ...sql import audit, page_queries, settings
from .. import task_rows
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from .show import routes, show

SHOWN = 100


class Decided(Query):
    actor: Annotated[str, Field(max_length=128)] | None = None
    queue: Annotated[str, Field(max_length=128)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = SHOWN


@routes.get("/decisions/")
@open_to(NOBODY)
@reads(Decided)
def list_of_decisions(asked: Decided) -> Response:
    """What brokers, throttlers, scouts and others decided last, and why."""
    with context().reading() as tx:
        found = page_queries.recent_decisions(tx, actor=asked.actor, queue=asked.queue, limit=asked.limit)
    rows = [{**task_rows.decision_row(row), "jeditaskid": row.jeditaskid} for row in found]
    return show("decisions.html", "Decisions", {"rows": rows, "asked": asked.model_dump(exclude_none=True)}, rows=rows)


@routes.get("/agents/")
@open_to(NOBODY)
def agents() -> Response:
    """Work that goes by leases: who holds each, and when it was last begun; tasks that agents hold."""
    now = context().now()
    with context().reading() as tx:
        data = {
            "leases": [row._asdict() for row in page_queries.all_leases(tx)],
            "tasks": [row._asdict() for row in page_queries.tasks_at_work(tx, now=now, limit=SHOWN)],
        }
    return show("agents.html", "Agents and chores", data)


@routes.get("/settings/")
@open_to(NOBODY)
def list_of_settings() -> Response:
    """What was set in the database, all numbers that can be, and the last changes."""
    with context().reading() as tx:
        data = {
            "values": [row._asdict() for row in settings.list_values(tx)],
            "history": [row._asdict() for row in settings.history(tx, limit=SHOWN)],
            "audit": [row._asdict() for row in audit.lately(tx, limit=SHOWN)],
        }
    return show("settings.html", "Settings", data)
