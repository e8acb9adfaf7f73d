"""/api/v1/pilot/: how pilots get work and tell of it (pilot protocol 11)."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import ConfigDict, Field

from ...core.errors import BambooError, Fault, Invalid, NotFound, Stale
from ...core.event_stream import EVENT_STREAM
from ...core.states import LEASED
from ...sql import job_queries, workers
from ..auth.access import FOR_QUEUE, HOLDER, PILOT, open_to
from ..bodies import SEVERAL, Query, WireBody, check
from ..context import context, request_id
from ..declared import answers_with, reads
from ..envelope import as_json, succeeded, success
from ..errors import answer
from ..identity import caller
from ..job_handout import WorkWanted, hand_out
from ..job_updates import take_report
from ..live.feeds import ORDERS
from ..live.route import stream
from ..pilot_orders import KILL, NOTHING, Accepted, lease_seconds
from ..pilot_reports import PilotReport

routes = Blueprint("pilot", __name__)
log = logging.getLogger(__name__)

NO_JOBS = "No jobs in PanDA"
MAX_REPORTS = 1000
_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
JobId = Annotated[int, Field(ge=1, le=2**63 - 1)]


class JobIds(Query):
    job_ids: Annotated[list[JobId], SEVERAL, Field(max_length=2000)]


class Held(Query):
    job_id: JobId
    attempt_nr: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1


class WorkerTold(WireBody):
    """A pilot tells of its worker."""

    worker_id: Annotated[int, Field(ge=0, le=2**63 - 1)]
    harvester_id: str = Field(min_length=1, max_length=64)
    status: Literal["started", "finished"]
    node_id: str | None = Field(None, max_length=128)


class Reports(WireBody):
    """What Harvester tells of its jobs."""

    job_list: Annotated[list[dict[str, Any]], SEVERAL, Field(max_length=MAX_REPORTS)]
    harvester_id: str | None = None


class NodeTold(WireBody):
    """A pilot tells of the machine that it is on."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    site: str = Field(min_length=1, max_length=128)
    host_name: str = Field(min_length=1, max_length=128)


@routes.errorhandler(BambooError)
@open_to(PILOT)
def _refuse(error: BambooError) -> Response:
    """Pilots look for a code and a command in `data`, and one generation of them beside it (pilot protocol 11)."""
    told = refusal(error)
    return answer(error, told, command=told["command"])


def refusal(error: BambooError) -> dict[str, Any]:
    """What a pilot reads out of a refusal: whoever lost its job shall stop working on it."""
    order = (KILL, "stale_attempt") if isinstance(error, Stale) else (NOTHING, "refused")
    return {"StatusCode": 30, "command": order[0], "reason": order[1]}


@routes.post("/acquire_jobs")
@open_to(FOR_QUEUE)
@reads(WorkWanted, headers=("Idempotency-Key", "X-Retry"))
def acquire_jobs(wanted: WorkWanted) -> Response:
    """Hand out jobs; the repetition of a request whose answer was lost gets the same ones."""
    is_repeated = request.headers.get("X-Retry", "0") != "0"
    with_tokens = request.headers.get("X-Attempt-Token", "0") != "0"
    jobs = hand_out(wanted, key=_idempotency_key(), is_repeated=is_repeated, with_tokens=with_tokens)
    if not jobs:
        return as_json({"success": False, "message": NO_JOBS, "data": None})
    return succeeded({"StatusCode": 0, "jobs": jobs})


@routes.post("/update_job")
@open_to(HOLDER)
@reads(PilotReport)
def update_job(body: PilotReport) -> Response:
    """Take a report on a job, renew its lease, and hand over the command that waits for the pilot."""
    return as_json(told(take(body)))


def told(accepted: Accepted) -> dict[str, Any]:
    """The answer to a report that counts."""
    return success(accepted.data(), command=accepted.command)


def take(report: PilotReport, *, by_harvester: bool = False) -> Accepted:
    """Let a report take effect in a transaction of its own.

    Harvester knows of no leases, as PanDA's pilots do not: it tells of a job when something changes.
    """
    caller().attempt_at(report.job_id, report.attempt_nr)
    now, server = context().now(), context().settings.server
    seconds = server.patience_seconds if by_harvester else lease_seconds(server, report.pilot_id)
    with context().looking() as tx:
        job = job_queries.look_for_report(tx, report.job_id)
    if job is not None:
        caller().must_serve(job.queue, f"job {job.pandaid}")
    how: dict[str, Any] = {"lease_seconds": seconds, "now": now, "request_id": request_id()}
    if job is not None and not report.meta_data:
        collected = context().heartbeats.take(job, report, lease_seconds=seconds, now=now)
        if collected is not None:
            return collected
        with suppress(Stale), context().single() if report.record is None else context().writing() as tx:
            return take_report(tx, job, report, **how)
    with context().writing() as tx:  # refused, or somebody was quicker: what counts is seen under a lock
        job = job_queries.lock_for_report(tx, report.job_id)
        caller().must_serve(job.queue, f"job {job.pandaid}")
        return take_report(tx, job, report, **how)


@routes.post("/update_jobs_bulk")
@open_to(HOLDER)
@reads(Reports)
def update_jobs_bulk(body: Reports) -> Response:
    """Take reports on many jobs; each has its own answer, and a refused one stops no other (harvester protocol 5)."""
    return succeeded([_one_of_many(given) for given in body.job_list])


def _one_of_many(given: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in given.items() if value is not None}
    try:
        accepted = take(check(PilotReport, told), by_harvester=True)
    except BambooError as error:
        if error.status == 503:
            raise
        return {"success": False, "message": str(error), "data": refusal(error)}
    return {"success": True, "message": "", "data": accepted.data()}


@routes.get("/orders")
@open_to(HOLDER)
@reads(Held, headers=("Last-Event-ID",))
@answers_with(EVENT_STREAM)
def orders(held: Held) -> Response:
    """Live: rings for the pilot that holds a job when there is an order for it, which is in the answer to a report."""
    job_id, hint = held.job_id, "orders come with the answers to reports"
    caller().attempt_at(job_id, held.attempt_nr)
    if not context().settings.server.max_listening_pilots:
        raise NotFound("this server rings for no pilot", hint=hint)
    with context().looking() as tx:
        job = job_queries.look_for_report(tx, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}", hint="its task may be over and archived")
    caller().must_serve(job.queue, f"job {job_id}")
    if job.attempt_nr != held.attempt_nr or job.status not in LEASED:
        raise Stale(
            f"attempt {held.attempt_nr} at job {job_id} does not hold it: attempt {job.attempt_nr}, {job.status}"
        )
    return stream(ORDERS, job_id)


@routes.get("/get_job_status")
@open_to(PILOT)
@reads(JobIds)
def get_job_status(asked: JobIds) -> Response:
    """The state and attempt of jobs; of an unknown one `not found` and 0."""
    ids = asked.job_ids
    with context().reading() as tx:
        found = job_queries.states_of(tx, ids)
    rows = [(job_id, *found.get(job_id, ("not found", 0))) for job_id in ids]
    return succeeded([dict(zip(("job_id", "status", "attempt_number"), row, strict=True)) for row in rows])


@routes.post("/update_worker_status")
@open_to(PILOT)
@reads(WorkerTold)
def update_worker_status(body: WorkerTold) -> Response:
    """Note that the pilot of a worker has started or finished."""
    tell_worker(body)
    return succeeded({"StatusCode": 0})


def tell_worker(told: WorkerTold) -> None:
    """Note what a pilot tells of its worker."""
    now = context().now()
    with context().writing() as tx:
        workers.tell_pilot_status(
            tx, told.harvester_id, told.worker_id, pilot_status=told.status, node=told.node_id, now=now
        )


@routes.post("/update_worker_node")
@open_to(PILOT)
@reads(NodeTold)
def update_worker_node(told: NodeTold) -> Response:
    """Write what a pilot tells of its machine into the log; nothing here decides by it."""
    return _tell_node("worker_node", told)


@routes.post("/update_worker_node_gpu")
@open_to(PILOT)
@reads(NodeTold)
def update_worker_node_gpu(told: NodeTold) -> Response:
    """Write what a pilot tells of a graphics processor into the log."""
    return _tell_node("worker_node_gpu", told)


def _tell_node(event: str, told: NodeTold) -> Response:
    figures = {key[:40]: str(value)[:80] for key, value in list((told.model_extra or {}).items())[:20]}
    what = {"site": told.site, "host_name": told.host_name, "figures": figures}
    log.info("a pilot told of its machine", extra={"event": event, **what})
    return succeeded({"StatusCode": 0})


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        what = "no key of at most 64 letters, digits, '.', '_' and '-'"
        raise Invalid("the request", [Fault("Idempotency-Key", what, "send a UUID")])
    return key
