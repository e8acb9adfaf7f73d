"""Who is calling: asked once for each request, at the door, and known to every route afterwards."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, g, request

from ..core.clock import Clock
from ..core.errors import BadState
from ..core.settings import ServerSection
from .auth.access import Need, access_to, must_all_be_declared
from .auth.caller import Caller
from .auth.door import Door
from .auth.session import Sessions
from .context import context
from .secret_box import fernet_of

__all__ = ["Caller", "admit", "caller", "door_of", "install", "sessions"]

_DOOR = "bamboo_door"
_SESSIONS = "bamboo_sessions"


def install(app: Flask, section: ServerSection, clock: Clock) -> None:
    """Put the door before all routes of an application.

    Raises `BadSettings`, and `RuntimeError` for a route that does not declare who may come.
    """
    must_all_be_declared(app)
    app.extensions[_DOOR] = Door.build(section, clock)
    fernet = fernet_of(section.secrets_key)
    app.extensions[_SESSIONS] = None if fernet is None else Sessions(fernet)
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
        now, known = context().now(), current_app.extensions[_SESSIONS]
        g.caller = (known and known.caller(request, now)) or door_of(current_app).caller(request, now)
    return cast(Caller, g.caller)


def sessions() -> Sessions:
    """What browsers sign in with; raises `BadState` on a server without a key for it."""
    found = current_app.extensions[_SESSIONS]
    if found is None:
        hint = "the administrator may set [server] secrets_key; pages are there without signing in"
        raise BadState("nobody can sign in to the pages of this server: it has no key", hint=hint)
    return cast(Sessions, found)
