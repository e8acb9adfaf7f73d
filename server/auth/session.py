"""Signing in to the pages: a browser shows no token, so a program that has one fetches it a ticket.

`bamboo web` asks for a ticket with its user's token; whoever opens the address with it within a minute gets a cookie.
Ticket and cookie say who it is, sealed with the server's key, so that nothing is kept and every process knows them.
The cookie counts for changes only when they come from a page of this very server (`Origin`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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
_TICKET, _SESSION = "ticket", "session"
_HOW = "say `bamboo web` where you are signed in"


@dataclass(frozen=True)
class Sessions:
    """Makes tickets and cookies, and knows who they are."""

    fernet: MultiFernet

    def ticket(self, caller: Caller, now: datetime) -> str:
        """What a browser may exchange for a cookie."""
        return self._seal(_TICKET, caller, now)

    def cookie(self, ticket: str, now: datetime) -> str:
        """The cookie for a ticket; raises `Invalid`."""
        try:
            found = self._open(_TICKET, ticket, TICKET_SECONDS, now)
        except NotProven as error:
            raise Invalid("the ticket", [Fault("ticket", str(error), _HOW)]) from None
        return self._seal(_SESSION, found, now)

    def caller(self, request: Request, now: datetime) -> Caller | None:
        """Who the request's cookie says it is; None without one. Raises `NotProven` and `NotAdmitted`."""
        cookie = request.cookies.get(COOKIE)
        if not cookie or "Authorization" in request.headers:
            return None
        found = self._open(_SESSION, cookie, SESSION_SECONDS, now)
        if request.method not in ("GET", "HEAD") and not _is_from_own_page(request):
            raise NotAdmitted("this change comes from a page of another server", hint="use the pages of this one")
        return found

    def _seal(self, kind: str, caller: Caller, now: datetime) -> str:
        said = {name: _plain(value) for name, value in asdict(caller).items()}
        return self.fernet.encrypt_at_time(json.dumps([kind, said]).encode(), int(now.timestamp())).decode()

    def _open(self, kind: str, sealed: str, seconds: int, now: datetime) -> Caller:
        try:
            text = self.fernet.decrypt_at_time(sealed, seconds, int(now.timestamp()))
            found, said = json.loads(text)
        except (InvalidToken, ValueError, TypeError):
            raise NotProven(f"the {kind} is not ours, or too old", hint=_HOW) from None
        if found != kind:
            raise NotProven(f"this is no {kind}", hint=_HOW)
        sets = {name: frozenset(said[name]) for name in ("roles", "groups")}
        queues = None if said["queues"] is None else frozenset(said["queues"])
        return Caller(**{**said, **sets, "queues": queues})


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def _is_from_own_page(request: Request) -> bool:
    origin = urlsplit(request.headers.get("Origin", ""))
    return bool(origin.netloc) and origin.netloc == request.host
