"""Why a job is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ...core.errors import Fault, Invalid, NotFound
from ...core.states import JOBS, LEASED, QUEUED, JobState
from ...core.why import Step, Why
from ...plugins.manager import Plugins
from ...plugins.questions import read_question
from ...plugins.what_if import Edit, changed, parse
from ...sql import claim_gates, decisions, job_queries, shares
from ...sql import tasks as tasks_sql
from ..task_rows import job_errors
from .steps import broker_step, dispatch_step, recorded_steps, share_step, state_step


def why_job(tx: sa.Connection, plugins: Plugins, pandaid: int, tried: Sequence[str], *, now: datetime) -> Why:
    """The chain of a job: its state, its place in the order, the pilots of its queue, and whether the queue still fits.

    Raises `NotFound`, and `Invalid` for changes that cannot be made.
    """
    job = job_queries.find_job(tx, pandaid)
    edits = parse(tried, {job.queue})
    _check(edits, job)
    steps = [_state(job)]
    if job.status in QUEUED:
        n_before = claim_gates.jobs_before(tx, job)
        says = f"{n_before} jobs of its share are taken before it at {job.queue} (priority {job.current_priority})"
        steps += [Step("priority", says), *share_step(shares.order_of(tx), job.gshare)]
        steps.append(dispatch_step(tx, job.queue, now, claim_gates.one_job(pandaid), edits=edits))
    if job.status in QUEUED or edits:
        question = changed(_question(tx, job, now), edits)
        step = broker_step(plugins, question)
        steps.append(replace(step, who="queue limits", says=_fits(job.queue, step)))
    about = [row for row in decisions.of_task(tx, job.jeditaskid) if row.pandaid == pandaid]
    return Why(f"job {pandaid}", job.status, [*steps, *recorded_steps(about, len(about))], tuple(tried))


def _check(edits: Sequence[Edit], job: sa.Row[Any]) -> None:
    """Raise `Invalid` for changes of the task: a job that is made keeps what it asks for."""
    hint = f"ask `bamboo why task:{job.jeditaskid} --if ...` about the jobs that are not made yet"
    what = "a job that is made keeps what it asks for"
    faults = [Fault(edit.typed or edit.key, what, hint) for edit in edits if edit.noun == "task"]
    if faults:
        raise Invalid("the changes to try", faults)


def _state(job: sa.Row[Any]) -> Step:
    says = []
    if job.status in LEASED and job.lease_until is not None:
        says.append(f"pilot {job.pilot_id or '?'} at {job.node or '?'} holds it until {job.lease_until:%H:%M:%S} UTC")
    for error in job_errors(job):
        who = f" [{error['who']} must act]" if error["who"] else ""
        says.append(f"{error['source']} {error['code']}: {error['diag'] or error['meaning'] or ''}{who}")
    return state_step(JOBS, job.status, "; ".join(says), passes=job.status != JobState.FAILED)


def _question(tx: sa.Connection, job: sa.Row[Any], now: datetime) -> Any:
    """What would be asked about this job alone, at its queue alone: it may ask for more than its task does."""
    row = tasks_sql.get_task(tx, job.jeditaskid)
    asked = read_question(tx, row, now=now)
    task = replace(
        asked.task,
        core_count=job.core_count,
        ram_count_mb=job.min_ram_count_mb,
        max_walltime_seconds=job.max_walltime_seconds,
    )
    queues = [queue for queue in asked.queues if queue.queue == job.queue]
    if not queues:
        raise NotFound(f"there is no queue {job.queue}", hint="it was removed; the job will be brokered again")
    return replace(asked, task=task, queues=queues)


def _fits(queue: str, step: Step) -> str:
    return f"{queue} would be chosen for it again" if step.passes else f"{queue} would not be chosen for it any more"
