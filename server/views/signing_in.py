"""Signing in to the pages with a ticket, and out again."""

from __future__ import annotations

from typing import Annotated

from flask import Response, request
from pydantic import Field

from ..auth.access import NOBODY, open_to
from ..auth.session import COOKIE, SESSION_SECONDS
from ..bodies import Query
from ..context import context
from ..declared import reads
from ..identity import sessions
from .show import go_to, routes


class Ticket(Query):
    """A page is a path here: browsers leave out tabs and line ends, behind which a second slash could hide."""

    ticket: Annotated[str, Field(max_length=4000)]
    page: Annotated[str, Field(max_length=1000, pattern=r"^/([^/\\\x00-\x20][^\x00-\x1f]*)?$")] = "/"


@routes.get("/sign_in")
@open_to(NOBODY)
@reads(Ticket)
def sign_in(asked: Ticket) -> Response:
    """Exchange a ticket for a cookie, and go to a page."""
    cookie = sessions().cookie(asked.ticket, context().now())
    response = go_to(asked.page)
    response.set_cookie(
        COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="Lax", secure=request.is_secure, path="/"
    )
    return response


@routes.post("/sign_out")
@open_to(NOBODY)
def sign_out() -> Response:
    """Forget who it is."""
    response = go_to("/")
    response.delete_cookie(COOKIE, path="/")
    return response
