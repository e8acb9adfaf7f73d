"""/api/v1/workflow/: chains of tasks (client protocol 6.9), which are not there yet, and say so."""

from __future__ import annotations

from flask import Blueprint, Response

from ..auth.access import USER, open_to
from ..errors import NotYet

routes = Blueprint("workflow", __name__)


def refuse_workflows() -> Response:
    """Refuse what has to do with workflows."""
    raise NotYet("workflows are not supported yet", hint="submit the tasks one by one; parent_tid ties them together")


@routes.post("/submit_workflow_raw_request")
@open_to(USER)
def submit_workflow_raw_request() -> Response:
    """Refuse a workflow."""
    return refuse_workflows()


@routes.get("/get_workflow_details")
@open_to(USER)
def get_workflow_details() -> Response:
    """Refuse to show a workflow."""
    return refuse_workflows()
