"""Who is calling: asked once for each request, at the door, and known to every route afterwards."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, g, request

from ..core.clock import Clock
from ..core.settings import ServerSection
from .auth.access import Need, access_to, must_all_be_declared
from .auth.caller import Caller
from .auth.door import Door
from .context import context

__all__ = ["Caller", "admit", "caller", "door_of", "install"]

_DOOR = "bamboo_door"


def install(app: Flask, section: ServerSection, clock: Clock) -> None:
    """Put the door before all routes of an application.

    Raises `BadSettings`, and `RuntimeError` for a route that does not declare who may come.
    """
    must_all_be_declared(app)
    app.extensions[_DOOR] = Door.build(section, clock)
    app.before_request(admit)


def admit() -> None:
    """Let the request pass if its caller may come to its address; raises `NotProven`, `NotAdmitted` and `TooMany`."""
    access = access_to(current_app, request)
    if access.need is Need.NOBODY:
        return
    found = caller()
    if access.need is not Need.PILOT and found.is_user:  # one token may serve all pilots of a site
        context().rates.ask(found.user_name)
    access.must_admit(found)


def door_of(app: Flask) -> Door:
    """The door of an application."""
    return cast(Door, app.extensions[_DOOR])


def caller() -> Caller:
    """The caller of this request."""
    if "caller" not in g:
        g.caller = door_of(current_app).caller(request, context().now())
    return cast(Caller, g.caller)
