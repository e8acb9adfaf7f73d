"""The page of a job: its steps, files, errors and figures, and all attempts at its inputs side by side."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response
from pydantic import Field

from ...core.states import JOBS, JobState
from ...sql import job_queries, job_records, page_queries, task_queries
from ...sql import tasks as tasks_sql
from ..auth.access import NOBODY, open_to
from ..bodies import Query
from ..context import context
from ..declared import reads
from ..flight_records import record_row
from ..task_rows import event_row, file_row, job_errors, job_row, small
from .chart import curves
from .show import go_to, routes, show
from .viewer import viewer
from .words import path


class Asked(Query):
    pandaid: Annotated[int, Field(ge=1, le=2**63 - 1)]


@routes.get("/job")
@routes.get("/job/")
@open_to(NOBODY)
@reads(Asked)
def job_by_query(asked: Asked) -> Response:
    """The page of the job that the query names (manual ch. 4.3)."""
    return go_to(path("job", asked.pandaid))


@routes.get("/job/<int:pandaid>/")
@open_to(NOBODY)
def job(pandaid: int) -> Response:
    """A job with its history; its output and parameters are for its owner."""
    who = viewer()
    with context().reading() as tx:
        row = job_queries.find_job(tx, pandaid)
        may_see = who is not None and who.may_own(row.user_name, row.vo)
        report = job_queries.report_of(tx, pandaid)
        record = record_row(row, job_records.of_job(tx, pandaid), is_private=may_see)
        data: dict[str, Any] = {
            "job": small(job_row(row)),
            "files": [file_row(file) for file in job_queries.files_of(tx, pandaid)],
            "errors": job_errors(row),
            "events": [event_row(event) for event in job_queries.events_of(tx, pandaid)],
            "attempts": [
                {**small(job_row(one)), "errors": job_errors(one)} for one in page_queries.attempts_of(tx, pandaid)
            ],
            "record": record,
            "metrics": report.job_metrics if report else None,
            "timing": report.pilot_timing if report else None,
            "parameters": job_queries.parameters_of(tx, [pandaid]).get(pandaid, "") if may_see else None,
            "output": report.stdout_tail if report and may_see else None,
            "pilot_log": report.pilot_log if report and may_see else None,
        }
        inputs = task_queries.file_counts(tx, [row.jeditaskid]).get(row.jeditaskid)
        task_name = tasks_sql.get_task(tx, row.jeditaskid).task_name
    state = JOBS.rows[JobState(row.status)]
    drawn = curves(record["samples"], record["memory"])
    more = {"curves": drawn, "meaning": state.meaning, "next": state.mover, "is_over": row.status in JOBS.final}
    more["is_alone"] = inputs is None or not inputs.n_files_finished
    return show("job.html", f"Job {pandaid}", {**data, **more, "task_name": task_name, "may_see": may_see}, rows=data)
