"""/api/v1/event/: event ranges of jobs (manual ch. 7.1.3; client protocol 6.8, harvester protocol 5).

Answers have PanDA's shape. A job without ranges has none to give, so that a pilot which asks goes on without.
"""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import Field

from ...sql import event_ranges
from .. import event_reports
from ..auth.access import ANYONE, HOLDER, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from ..envelope import succeeded
from ..event_reports import Ranges, Reported, Wanted
from ..identity import caller
from ..pilot_orders import NOTHING, for_pilot

routes = Blueprint("event", __name__)


class Asked(Query):
    job_task_ids: Ranges = Field(description='`[{"task_id": 1, "panda_id": 2}]`')


class OfJob(Query):
    job_id: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0


@routes.post("/acquire_event_ranges")
@open_to(HOLDER)
@reads(Wanted)
def acquire_event_ranges(body: Wanted) -> Response:
    """Hand out the next ranges of a job."""
    return succeeded(acquire(body))


def acquire(wanted: Wanted) -> dict[str, Any]:
    """The answer to a pilot that asks for ranges."""
    with context().writing() as tx:
        return {"StatusCode": 0, "eventRanges": event_reports.hand_out(tx, wanted, caller())}


@routes.post("/update_event_ranges")
@open_to(HOLDER)
@reads(Reported)
def update_event_ranges(body: Reported) -> Response:
    """Take what is told of ranges; each that does not count, being another's by now, is answered with false."""
    return succeeded(update(body))


def update(told: Reported) -> dict[str, Any]:
    """The answer to a report on ranges; `Command` has the orders that wait for the pilots of their jobs."""
    with context().writing() as tx:
        answers = event_reports.take_reports(tx, told.event_ranges, caller())
        orders = event_reports.orders(tx, told.event_ranges)
    commands = {pandaid: for_pilot(order, None) for pandaid, order in orders.items()}
    return {"StatusCode": 0, "Returns": answers, "Command": {k: v for k, v in commands.items() if v != NOTHING}}


@routes.get("/get_event_range_statuses")
@open_to(ANYONE)
@reads(Asked)
def get_event_range_statuses(asked: Asked) -> Response:
    """The ranges of the jobs asked for, with their states."""
    return succeeded(statuses(asked.job_task_ids))


def statuses(asked: list[dict[str, Any]]) -> dict[str, Any]:
    """The ranges of jobs, asked for as `{"task_id", "panda_id"}`; none of what is no job."""
    ids = [event_reports.job_id(pair.get("panda_id")) for pair in asked]
    with context().reading() as tx:
        found = event_reports.statuses(tx, [number for number in ids if number])
    return {str(pair.get("panda_id")): found.get(str(number), {}) for pair, number in zip(asked, ids, strict=True)}


@routes.get("/get_available_event_range_count")
@open_to(ANYONE)
@reads(OfJob)
def get_available_event_range_count(asked: OfJob) -> Response:
    """How many ranges a job may still ask for."""
    with context().reading() as tx:
        return succeeded(event_ranges.n_ready(tx, asked.job_id))
