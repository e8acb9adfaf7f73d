"""The list of jobs (manual ch. 4.3), with facets."""

from __future__ import annotations

from typing import Any

from flask import Response

from ...sql import page_queries, selection
from ...sql.views import all_jobs
from ..auth.access import NOBODY, open_to
from ..bodies import read_query
from ..context import context
from ..task_rows import job_errors, job_row, small
from .asked import JOB_FACETS, MAX_LISTED, JobsAsked
from .show import routes, show, wants_json

#: Facets are of so many of the newest jobs that fit.
LOOKED_AT_JOBS = 5000


@routes.get("/jobs/")
@open_to(NOBODY)
def list_of_jobs() -> Response:
    """Jobs of the last hours, of a task, or as the parameters say, the newest first."""
    asked = read_query(JobsAsked)
    wanted = asked.selection(context().now())
    limit = min(asked.limit, MAX_LISTED) if wants_json() else asked.display_limit
    with context().reading() as tx:
        found = page_queries.newest_jobs(tx, wanted, limit=limit)
        facets: dict[str, Any] = {}
        if not wants_json():
            columns = list(JOB_FACETS.values())
            among = selection.Newest(found, is_all=len(found) < limit, limit=LOOKED_AT_JOBS)
            by_column = selection.facets(tx, all_jobs, "pandaid", wanted, columns, among)
            facets = {name: by_column[column] for name, column in JOB_FACETS.items()}
    rows = [small(job_row(job)) for job in found]
    shown = [{**row, "errors": job_errors(job)} for row, job in zip(rows, found, strict=True)]
    more = rows[-1]["pandaid"] if len(rows) == limit else None
    given = asked.model_dump(exclude_none=True, exclude_defaults=True)
    data = {"rows": shown, "facets": facets, "more": more, "asked": given, "looked_at": LOOKED_AT_JOBS}
    data["since"] = wanted.modified_since
    return show("jobs.html", "Jobs", data, rows={"jobs": rows})
