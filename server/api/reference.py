"""/api/openapi.json: what there is to ask for, for programs; the page for people is `views/reference.py`."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from ..auth.access import NOBODY, open_to
from ..envelope import as_json

routes = Blueprint("reference", __name__)


@routes.get("/api/openapi.json")
@open_to(NOBODY)
def openapi() -> Response:
    """This document: all operations but those of the old style."""
    from ..openapi import document  # it is asked for seldom

    return as_json(document(current_app))
