"""Who is calling: asked once for each request, at the door, and known to every route afterwards."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, g, request

from ..core.clock import Clock
from ..core.settings import ServerSection
from .auth.caller import Caller
from .auth.door import Door
from .auth.errors import NotAdmitted
from .auth.places import Need, need_of
from .context import context

__all__ = ["Caller", "admit", "caller", "door_of", "install"]

_DOOR = "bamboo_door"


def install(app: Flask, section: ServerSection, clock: Clock) -> None:
    """Put the door before all routes of an application; raises `BadSettings`."""
    app.extensions[_DOOR] = Door.build(section, clock)
    app.before_request(admit)


def admit() -> None:
    """Let the request pass if its caller may come to its address; raises `NotProven` and `NotAdmitted`."""
    need = need_of(request.path)
    if need is Need.NOBODY:
        return
    found = caller()
    if need is Need.PILOT and not found.is_pilot:
        raise NotAdmitted(f"{found.user_name} is no pilot", hint="use a token whose groups give the role pilot")
    if need is Need.USER and not found.is_user:
        raise NotAdmitted(f"{found.user_name} is a pilot and no user", hint="use a token of yours")


def door_of(app: Flask) -> Door:
    """The door of an application."""
    return cast(Door, app.extensions[_DOOR])


def caller() -> Caller:
    """The caller of this request."""
    if "caller" not in g:
        g.caller = door_of(current_app).caller(request, context().now())
    return cast(Caller, g.caller)
