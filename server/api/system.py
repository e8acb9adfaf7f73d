"""/api/v1/system/: whether the service answers, and what it is."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ... import __version__
from ..envelope import succeeded

routes = Blueprint("system", __name__)


@routes.get("/is_alive")
def is_alive() -> Response:
    """This process answers; whether it can work is what /readyz tells."""
    return succeeded({"version": __version__}, "alive")


@routes.get("/get_attributes")
def get_attributes() -> Response:
    """What the server sees of the request: for finding out why somebody is not who they think they are."""
    return succeeded({"environment": seen()})


def seen() -> dict[str, str]:
    """The request as the server sees it, without anything that proves who sent it."""
    names = ("REQUEST_METHOD", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "CONTENT_TYPE")
    headers = ("HTTP_HOST", "HTTP_USER_AGENT", "HTTP_ORIGIN", "HTTP_ACCEPT", "HTTP_X_FORWARDED_FOR")
    return {name: str(request.environ[name])[:200] for name in (*names, *headers) if name in request.environ}
