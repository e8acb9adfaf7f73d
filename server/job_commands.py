"""What users do to single jobs: kill them, and watch them while they run (client protocol 6.6, pilot protocol 9)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import BadState, BambooError, NotAllowed, NotFound
from ..core.states import LEASED, QUEUED, JobState
from ..sql import accounting, job_queries
from ..sql import jobs as jobs_sql
from ..sql import tasks as tasks_sql
from . import pilot_orders
from .bodies import parse_json
from .identity import Caller


def kill(tx: sa.Connection, job_id: int, *, caller: Caller, now: datetime) -> bool:
    """Cancel a job that no pilot has, or have its pilot end it; False for one that is over or not the caller's."""
    try:
        job = jobs_sql.get_job(tx, job_id, lock=True)
        caller.must_own(f"job {job_id}", job.user_name, job.vo)
    except (NotFound, NotAllowed):
        return False
    if job.status in LEASED:
        return jobs_sql.order(tx, [jobs_sql.ref(job)], pilot_orders.KILL, now=now) == 1
    if job.status not in QUEUED:
        return False
    ending = accounting.Ending(jobs_sql.ref(job), JobState.CANCELLED, "killed by its owner")
    accounting.book(tx, [ending], actor=caller.user_name, now=now)
    return True


def set_debug_mode(tx: sa.Connection, job_id: int, mode: bool, *, caller: Caller, now: datetime) -> str:
    """Switch the debug mode of a running job. Raises `NotFound`, `NotAllowed` and `BadState`."""
    _order(tx, job_id, pilot_orders.DEBUG if mode else pilot_orders.DEBUG_OFF, caller=caller, now=now)
    when = "with its next report"
    return f"debug mode of job {job_id} is switched {f'on {when}' if mode else f'off {when}'}"


def send(tx: sa.Connection, job_id: int, command: str, *, caller: Caller, now: datetime) -> str:
    """Have the pilot of a running job look at it. Raises `Invalid`, `NotFound`, `NotAllowed` and `BadState`."""
    order = pilot_orders.debug_command(command)
    job = _order(tx, job_id, order, caller=caller, now=now)
    if pilot_orders.fails_jobs(order, job.pilot_id):
        raise BadState(f"the pilot of job {job_id} could fail the job over tail", hint="ls and ps are safe")
    return f"{order!r} goes to the pilot of job {job_id} with its next report"


def _order(tx: sa.Connection, job_id: int, order: str, *, caller: Caller, now: datetime) -> Any:
    job = jobs_sql.get_job(tx, job_id, lock=True)
    caller.must_own(f"job {job_id}", job.user_name, job.vo)
    if job.status not in LEASED:
        raise BadState(f"job {job_id} is {job.status}: no pilot has it", hint="possible while it runs")
    if job.command_to_pilot == pilot_orders.KILL:
        raise BadState(f"job {job_id} is being killed")
    jobs_sql.order(tx, [jobs_sql.ref(job)], order, now=now)
    return job


def metadata_of_task(tx: sa.Connection, jeditaskid: int) -> dict[str, Any]:
    """What the payloads of a task have left: {job id: object}; raises `NotFound`."""
    tasks_sql.get_task(tx, jeditaskid)
    return {str(job_id): _object(text) for job_id, text in job_queries.metadata_of_task(tx, jeditaskid).items()}


def _object(text: str) -> Any:
    try:
        return parse_json(text)
    except BambooError:
        return text
