"""How a page is shown: as HTML, or with `?json` in its address as the data behind it.

Pages work without scripts, load nothing from elsewhere, and say so in their Content-Security-Policy, so that no name of
a task or file can become a script.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, render_template, request

from ... import __version__
from ...core.errors import BambooError
from ..auth.access import NOBODY, USER, open_to
from ..context import context
from ..errors import answer, refuse
from ..identity import caller
from . import words
from .viewer import viewer

routes = Blueprint("views", __name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept, Cookie",
}
#: The menu: addresses and what they are called.
MENU = (
    ("/", "Dashboard"),
    ("/tasks/", "Tasks"),
    ("/jobs/", "Jobs"),
    ("/errors/", "Errors"),
    ("/queues/", "Queues"),
    ("/workers/", "Pilots"),
    ("/globalshares/", "Shares"),
    ("/users/", "Users"),
    ("/datasets/", "Data"),
    ("/decisions/", "Decisions"),
    ("/agents/", "Agents"),
    ("/settings/", "Settings"),
    ("/api/", "API"),
)


#: What is open on a server whose pages are not.
OPEN = frozenset({"views.static_file", "views.sign_in", "views.sign_out"})


def wants_json() -> bool:
    """Whether the request asks for the data behind a page: `?json`, `?json=1`, or a header Accept that says so."""
    return "json" in request.args or request.accept_mimetypes.best == "application/json"


def show(template: str, title: str, data: Mapping[str, Any], *, rows: Any = None, status: int = 200) -> Response:
    """A page made of `data`, or that data as JSON; `rows` is the JSON of pages that are lists, as BigPanDA's are."""
    if wants_json():
        text = json.dumps(data if rows is None else rows, default=plain)
        return Response(text, status=status, mimetype="application/json", headers={"Cache-Control": "no-cache"})
    more = {"title": title, "menu": MENU, "version": __version__, "viewer": viewer(), "now": context().now()}
    page = render_template(f"views/{template}", **data, **more, words=words, json_address=json_address())
    return Response(page, status=status, headers=HEADERS)


def go_to(place: str) -> Response:
    """Lead to another page of ours, or to the data behind it where those are asked for."""
    if "json" in request.args:
        place += "&json" if "?" in place else "?json"
    return Response(status=302, headers={"Location": place})


def json_address() -> str:
    """Where the data behind this page are."""
    query = request.query_string.decode("latin-1")
    return f"{request.path}?{query}&json" if query else f"{request.path}?json"


def plain(value: object) -> Any:
    """What JSON has no type for, as BigPanDA writes it: moments in UTC."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)


@routes.before_request
def _begin() -> None:
    """Let in as many requests of an address as of a user; and where pages are for those who have signed in, nobody
    else but to styles, and to the place to sign in."""
    if request.endpoint in OPEN:
        return
    context().rates.ask(f"whoever asks from {request.remote_addr}")
    if not context().settings.server.open_pages:
        USER.must_admit(caller())


@routes.errorhandler(BambooError)
@open_to(NOBODY)
def _refused(error: BambooError) -> Response:
    """A page that says what is wrong and what to do; for programs what the API says."""
    if error.status == 500:
        return refuse(error)
    answered = answer(error)
    if wants_json() or error.status in (429, 503, 507):
        return answered
    page = show("error.html", "Not shown", {"error": error}, status=error.status)
    if "WWW-Authenticate" in answered.headers:
        page.headers["WWW-Authenticate"] = answered.headers["WWW-Authenticate"]
    return page
