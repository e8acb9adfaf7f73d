"""Signing in to the pages: a browser shows no token, so a program that has one fetches it a ticket.

`bamboo web` asks for a ticket with its user's token; whoever opens the address with it within a minute gets a cookie.
Ticket and cookie say who it is, sealed with the server's key, so that nothing is kept and every process knows them.
The cookie is good no longer than the token that was shown, and gives no other ticket. It counts for changes only when
they come from a page of this very server (`Origin`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import InvalidToken, MultiFernet
from flask import Request

from ...core.errors import Fault, Invalid
from .caller import Caller
from .errors import NotAdmitted, NotProven

COOKIE = "bamboo_session"
TICKET_SECONDS = 60
SESSION_SECONDS = 12 * 3600
#: The name of the routes of PanDA's old style.
OLD_STYLE = "old_style"
_TICKET, _SESSION = "ticket", "session"
_HOW = "say `bamboo web` where you are signed in"


@dataclass(frozen=True)
class Sessions:
    """Makes tickets and cookies, and knows who they are."""

    fernet: MultiFernet

    def ticket(self, request: Request, caller: Caller, now: datetime, until: float | None) -> str:
        """What a browser may exchange for a cookie, which ends when the caller's token does (in epoch seconds).

        Raises `NotAdmitted` for a request that shows a cookie itself: with it a session could go on for ever.
        """
        if self.caller(request, now) is not None:
            raise NotAdmitted("a browser that is signed in gets no tickets for others", hint=_HOW)
        return self._seal(_TICKET, caller, now, until)

    def cookie(self, ticket: str, now: datetime) -> str:
        """The cookie for a ticket; raises `Invalid`."""
        try:
            found, until = self._open(_TICKET, ticket, TICKET_SECONDS, now)
        except NotProven as error:
            raise Invalid("the ticket", [Fault("ticket", str(error), _HOW)]) from None
        return self._seal(_SESSION, found, now, until)

    def caller(self, request: Request, now: datetime) -> Caller | None:
        """Who the request's cookie says it is; None without one. Raises `NotProven` and `NotAdmitted`."""
        cookie = request.cookies.get(COOKIE)
        if not cookie or "Authorization" in request.headers:
            return None
        found, _ = self._open(_SESSION, cookie, SESSION_SECONDS, now)
        if _may_change(request) and not _is_from_own_page(request):
            raise NotAdmitted("this change comes from a page of another server", hint="use the pages of this one")
        return found

    def _seal(self, kind: str, caller: Caller, now: datetime, until: float | None) -> str:
        # Who comes from this machine without a token is its administrator; a cookie may come from anywhere.
        said = {name: _plain(value) for name, value in asdict(replace(caller, is_local=False)).items()}
        return self.fernet.encrypt_at_time(json.dumps([kind, said, until]).encode(), int(now.timestamp())).decode()

    def _open(self, kind: str, sealed: str, seconds: int, now: datetime) -> tuple[Caller, float | None]:
        try:
            text = self.fernet.decrypt_at_time(sealed, seconds, int(now.timestamp()))
            found, said, until = json.loads(text)
        except (InvalidToken, ValueError, TypeError):
            raise NotProven(f"the {kind} is not ours, or too old", hint=_HOW) from None
        if found != kind:
            raise NotProven(f"this is no {kind}", hint=_HOW)
        if until is not None and now.timestamp() >= until:
            raise NotProven(f"the token that the {kind} was given for has expired", hint=_HOW)
        sets = {name: frozenset(said[name]) for name in ("roles", "groups")}
        queues = None if said["queues"] is None else frozenset(said["queues"])
        return Caller(**{**said, **sets, "queues": queues}), until


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def _may_change(request: Request) -> bool:
    """Whether a request may be more than a look: the old style takes commands by GET, which any link makes."""
    return request.method not in ("GET", "HEAD") or request.blueprint == OLD_STYLE


def _is_from_own_page(request: Request) -> bool:
    origin = urlsplit(request.headers.get("Origin", ""))
    return bool(origin.netloc) and origin.netloc == request.host
