"""What keeps the system going: decisions, agents and chores with their leases, settings, and who changed what."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from flask import Response
from pydantic import Field

from ...sql import audit, page_queries, service_rounds, settings
from .. import task_rows
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from .show import routes, show
from .viewer import is_administrator

SHOWN = 100
SHOWN_OF_SERVICES = ("service", "host", "began_at", "worked_at", "seconds", "period_seconds", "failures")


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
    """The last rounds of agents and chores, work that goes by leases, and tasks that agents hold."""
    now = context().now()
    with context().reading() as tx:
        leases = page_queries.all_leases(tx)
        data = {
            "services": _services(tx, {row.name for row in leases}, now),
            "leases": [row._asdict() for row in leases],
            "tasks": [row._asdict() for row in page_queries.tasks_at_work(tx, now=now, limit=SHOWN)],
        }
    return show("agents.html", "Agents and chores", data)


def _services(tx: sa.Connection, one_at_a_time: Container[str], now: datetime) -> list[dict[str, Any]]:
    """Each agent and chore on each machine with its lag. One of those that run on one machine at a time is as late as
    the machine which ran it last. Why one fails is for administrators: it may name things of users."""
    rows = service_rounds.last_rounds(tx)
    lags = [service_rounds.lag(row, now) for row in rows]
    least: dict[str, timedelta] = {}
    for row, lag in zip(rows, lags, strict=True):
        least[row.service] = min(lag, least.get(row.service, lag))
    may_know = is_administrator()
    told: list[dict[str, Any]] = []
    for row, own in zip(rows, lags, strict=True):
        lag = least[row.service] if row.service in one_at_a_time else own
        reason = {"error": row.error} if may_know else {}
        shown = {name: getattr(row, name) for name in SHOWN_OF_SERVICES}
        told.append(shown | {"lag_seconds": round(lag.total_seconds())} | reason)
    return told


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
