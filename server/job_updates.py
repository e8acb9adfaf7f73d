"""What a pilot's report does to a job (pilot protocol 7 to 9 and 11).

A report is fenced by the attempt number: of any attempt but the one that holds the job it is refused, and changes
nothing. Repeating a report does no harm, and neither does one that arrives late: a pilot whose answer was lost may
send it again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.errors import Stale
from ..core.job_errors import DIAG_CHARACTERS
from ..core.states import JOBS, LEASED, JobState
from ..sql import job_records, job_reports, steps
from ..sql import jobs as jobs_sql
from ..sql.steps import Step
from .pilot_orders import Accepted, accepted_by
from .pilot_reports import PilotReport, output_report

FINAL_REPORTS = (JobState.FINISHED, JobState.FAILED)
#: States in which a pilot says that it still has the job, though its payload is over. They renew the lease: whoever
#: sends them still owes a final report, and when that never comes the lease runs out like any other.
LINGERING = (JobState.HOLDING, JobState.TRANSFERRING)
METADATA_BYTES = 1 << 20
#: A pilot reports the end of a payload at most so much later (pilot protocol 16).
LONGEST_SILENCE = timedelta(hours=3)


def take_report(
    tx: sa.Connection, job: Any, report: PilotReport, *, lease_seconds: int, now: datetime, request_id: str
) -> Accepted:
    """Let a report on a job, as it was read just now, take effect.

    Without metadata and record it is one statement, for the job need not be locked: the step is fenced by what was
    read. Raises `Stale` when the job is not the reporter's any more, or has moved since it was read.
    """
    if job.attempt_nr != report.attempt_nr:
        raise Stale(f"job {job.pandaid} is at attempt {job.attempt_nr}, this is about attempt {report.attempt_nr}")
    accepted = accepted_by(job, report, lease_seconds)
    if job.status not in LEASED:
        _repeated(job, report)
        return accepted
    step = step_of(job, report, lease_seconds=lease_seconds, now=now, request_id=request_id)
    if step is None:
        _renew(tx, job, report, now + timedelta(seconds=lease_seconds), now)
        if report.record is not None:
            job_records.add(tx, {job.pandaid: [report.record.told()]}, now=now)
    else:
        steps.take(tx, step)
    if report.meta_data and report.job_status in FINAL_REPORTS and len(report.meta_data.encode()) <= METADATA_BYTES:
        job_reports.store_metadata(tx, job.pandaid, job.jeditaskid, report.meta_data)
    return accepted


def step_of(job: Any, report: PilotReport, *, lease_seconds: int, now: datetime, request_id: str) -> Step | None:
    """The step that a report makes a job take; None when it only renews the lease, or is not the holder's."""
    if job.attempt_nr != report.attempt_nr or job.status not in LEASED:
        return None
    if report.job_status in FINAL_REPORTS:
        to, values, told = JobState.HOLDING, *_end(report, now)
    else:
        to = JobState(report.job_status)
        if to == job.status or to in LINGERING or not JOBS.allows(JobState(job.status), to):
            return None
        until = now + timedelta(seconds=lease_seconds)
        values, told = {**_figures(report), "lease_until": until, "heartbeat_at": now}, report.report_columns()
        if to is JobState.RUNNING:
            values["started_at"] = _told(report.start_time, now)
    why, actor = f"the pilot reports {report.job_status}", job.pilot_id or "pilot"
    record = None if report.record is None else report.record.told()
    return Step(jobs_sql.ref(job), to, actor, why, now, request_id, values, told, record)


def _repeated(job: Any, report: PilotReport) -> None:
    """Accept what was said before, or while the end was on its way; raises `Stale` for all else."""
    if job.reported_status is None:
        raise Stale(f"attempt {job.attempt_nr} of job {job.pandaid} is over: the job is {job.status}")
    if report.job_status in FINAL_REPORTS and report.job_status != job.reported_status:
        raise Stale(f"attempt {job.attempt_nr} of job {job.pandaid} was reported as {job.reported_status} already")


def _figures(report: PilotReport) -> dict[str, Any]:
    lingers = report.job_status in LINGERING
    return {**report.job_columns(), "substatus": report.job_status if lingers else report.job_sub_status}


def _renew(tx: sa.Connection, job: Any, report: PilotReport, until: datetime, now: datetime) -> None:
    held = jobs_sql.ref(job)
    if not jobs_sql.renew(tx, held, lease_until=until, now=now, **_figures(report)):
        raise Stale(f"job {job.pandaid} is no longer attempt {held.attempt_nr} in state {held.status}")
    job_reports.store_report(tx, job.pandaid, report.report_columns())


def _end(report: PilotReport, now: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a final report sets in the job's row, and in its row of reports."""
    made, fault = output_report(report.job_output_report)
    values: dict[str, Any] = {**report.job_columns(), **report.error_columns(), "reported_status": report.job_status}
    if report.job_sub_status:  # why Harvester gave the job up: `cancelled`, `missed`, `pilot_closed`
        values["substatus"] = report.job_sub_status
    if fault:
        values["sup_error_diag"] = fault[:DIAG_CHARACTERS]
    values |= {"ended_at": _told(report.end_time, now), "heartbeat_at": now}
    return values, {**report.report_columns(), "output_report": made}


def _told(moment: datetime | None, now: datetime) -> datetime:
    """When a pilot says that something was, if its clock can be believed; else now."""
    return moment if moment is not None and now - LONGEST_SILENCE <= moment <= now else now
