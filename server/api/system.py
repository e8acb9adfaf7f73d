"""/api/v1/system/: whether the service answers, what it is, and what it takes its callers for."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, request

from ... import __version__
from ..auth.access import ANYONE, NOBODY, OWN, open_to
from ..auth.whoami import description
from ..context import context
from ..envelope import succeeded
from ..identity import caller, door_of, sessions

routes = Blueprint("system", __name__)


@routes.get("/is_alive")
@open_to(NOBODY)
def is_alive() -> Response:
    """This process answers; whether it can work is what /readyz tells."""
    return succeeded({"version": __version__}, "alive")


@routes.get("/whoami")
@open_to(ANYONE)
def whoami() -> Response:
    """Whom the server takes the caller for, by which rules, and what other roles would need."""
    door, user = door_of(current_app), caller()
    claims, policies = door.shown(request, user.vo, context().now())
    return succeeded(description(user, policies, claims))


@routes.get("/get_attributes")
@open_to(ANYONE)
def get_attributes() -> Response:
    """What the server sees of the request: for finding out why somebody is not who they think they are."""
    return succeeded({"environment": seen()})


@routes.post("/get_web_ticket")
@open_to(OWN)
def get_web_ticket() -> Response:
    """A ticket with which a browser signs in as the caller: the address to open within a minute."""
    user, now = caller(), context().now()
    claims, _ = door_of(current_app).shown(request, user.vo, now)
    ticket = sessions().ticket(request, user, now, claims["exp"] if claims else None)
    return succeeded({"ticket": ticket, "address": f"{context().public_url()}/sign_in?{urlencode({'ticket': ticket})}"})


def seen() -> dict[str, str]:
    """The request as the server sees it, without anything that proves who sent it."""
    names = ("REQUEST_METHOD", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "CONTENT_TYPE")
    headers = ("HTTP_HOST", "HTTP_USER_AGENT", "HTTP_ORIGIN", "HTTP_ACCEPT", "HTTP_X_FORWARDED_FOR")
    return {name: str(request.environ[name])[:200] for name in (*names, *headers) if name in request.environ}
