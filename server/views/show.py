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
from ...core.clock import utc_now
from ..auth.access import USER
from ..context import context
from ..errors import API
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


NOTES_HEADER = "X-Bamboo-Notes"


#: What is open on a server whose pages are not.
OPEN = frozenset({"views.static_file", "views.sign_in", "views.sign_out"})


def wants_json() -> bool:
    """Whether the request asks for the data behind a page: `?json`, `?json=1`, or a header Accept that says so."""
    # Where both are as good, as for `application/json, */*` of browsers' scripts, what is named goes before `*`.
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return "json" in request.args or best == "application/json"


def show(template: str, title: str, data: Mapping[str, Any], *, rows: Any = None) -> Response:
    """A page made of `data`, or that data as JSON; `rows` is the JSON of pages that are lists, as BigPanDA's are.

    `notes` in the data are what the asker is to be told; lists are bare and have no place for them but a header.
    """
    if wants_json():
        text = json.dumps(data if rows is None else rows, default=plain)
        answered = Response(text, mimetype="application/json", headers={"Cache-Control": "no-cache"})
        if notes := data.get("notes"):
            answered.headers[NOTES_HEADER] = json.dumps(notes)  # which is ASCII on one line
        return answered
    return Response(render(template, title, data, now=context().now()), headers=HEADERS)


def render(template: str, title: str, data: Mapping[str, Any], *, now: datetime) -> str:
    """The HTML of a page."""
    more = {"title": title, "menu": MENU, "version": __version__, "viewer": viewer(), "now": now}
    return render_template(f"views/{template}", **data, **more, words=words, json_address=json_address())


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


@routes.after_app_request
def show_refusal(answered: Response) -> Response:
    """What the API says of a request that was refused, as a page for people."""
    if answered.status_code < 400 or not answered.is_json or not wants_page():
        return answered
    told = json.loads(answered.get_data())
    if not isinstance(told, dict) or "request_id" not in told:  # no refusal: /readyz says what is missing
        return answered
    answered.set_data(render("error.html", "Not shown", {"told": told}, now=utc_now()))
    answered.mimetype = "text/html"
    answered.headers.update(HEADERS)
    return answered


def wants_page() -> bool:
    """Whether a page was asked for, or something else that is no part of the API with a browser: programs do not say
    that they want HTML."""
    if request.path.startswith(API) or wants_json():
        return False
    accepted = request.accept_mimetypes
    return request.blueprint == routes.name or accepted["text/html"] > accepted["application/json"]
