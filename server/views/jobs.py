"""The list of jobs (manual ch. 4.3), with facets."""

from __future__ import annotations

from flask import Response

from ...core.states import JOBS
from ...sql import page_queries, selection
from ...sql.views import all_jobs
from ..auth.access import NOBODY, open_to
from ..context import context
from ..declared import reads
from ..task_rows import job_errors, job_row, small
from .asked import JOB_FACETS, MAX_LISTED, JobsAsked, notes
from .show import routes, show, wants_json

#: Facets are of so many of the newest jobs that fit.
LOOKED_AT_JOBS = 1000


@routes.get("/jobs/")
@open_to(NOBODY)
@reads(JobsAsked)
def list_of_jobs(asked: JobsAsked) -> Response:
    """Jobs of the last hours, of a task, or as the parameters say, the newest first."""
    wanted = asked.selection(context().now())
    told = notes(asked, {"jobstatus": JOBS.rows})
    if wants_json():
        with context().reading() as tx:
            found = page_queries.newest_jobs(tx, wanted, limit=min(asked.limit, MAX_LISTED))
        return show("jobs.html", "Jobs", {"notes": told}, rows={"jobs": [small(job_row(job)) for job in found]})
    how = {"shown": asked.display_limit, "looked_at": LOOKED_AT_JOBS}
    with context().reading() as tx:
        listed = selection.listed(tx, all_jobs, "pandaid", wanted, list(JOB_FACETS.values()), **how)
    rows = [{**small(job_row(job)), "errors": job_errors(job)} for job in listed.rows]
    facets = {name: listed.facets[column] for name, column in JOB_FACETS.items()}
    more = rows[-1]["pandaid"] if len(rows) == asked.display_limit else None
    given = asked.model_dump(exclude_none=True, exclude_defaults=True)
    data = {"rows": rows, "facets": facets, "more": more, "asked": given, "since": wanted.modified_since}
    return show("jobs.html", "Jobs", {**data, "looked_at": LOOKED_AT_JOBS, "notes": told})
