"""What failures have in common, and two jobs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from ...sql import job_queries
from .. import job_comparison, task_details
from ..auth.access import NOBODY, open_to
from ..context import context
from .show import routes, show
from .viewer import is_user


@routes.get("/task/<int:task_id>/contrasts/")
@open_to(NOBODY)
def contrasts(task_id: int) -> Response:
    """What the failed jobs of a task have in common that its finished ones have not; its page fetches it afterwards."""
    with context().reading() as tx:
        whole, found = task_details.contrasts(tx, task_id)
    data = {"task_id": task_id, "n_failed": whole.failed, "n_finished": whole.succeeded, "contrasts": found}
    return show("contrasts.html", f"Failures of task {task_id}", data)


@routes.get("/job/<int:pandaid>/compare/")
@open_to(NOBODY)
def compare_with_a_success(pandaid: int) -> Response:
    """A job beside one of its task that finished and is most like it."""
    with context().reading() as tx:
        job = job_queries.find_job(tx, pandaid)
        other, chosen = job_comparison.choose_sibling(tx, job)
        lines = job_comparison.compare(tx, job, other)
    return _shown(job_comparison.comparison_row(job, other, lines, chosen=chosen))


@routes.get("/job/<int:pandaid>/compare/<int:other>/")
@open_to(NOBODY)
def compare(pandaid: int, other: int) -> Response:
    """Two jobs side by side."""
    with context().reading() as tx:
        left, right = job_queries.find_job(tx, pandaid), job_queries.find_job(tx, other)
        lines = job_comparison.compare(tx, left, right)
    return _shown(job_comparison.comparison_row(left, right, lines, chosen=None))


def _shown(comparison: Mapping[str, Any]) -> Response:
    lines = [line for line in comparison["lines"] if line["key"] != "jobParameters" or is_user()]
    comparison = {**comparison, "lines": lines}
    return show("compare.html", "Two jobs side by side", comparison)
