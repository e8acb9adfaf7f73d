"""Tokens for one attempt at a job: a pilot gets one with its job, and it is good for that job's reports alone.

They are sealed with the server's `secrets_key`, which all its processes have, so that nothing is kept of them: what
they open says whom they are for. That the attempt still holds the job is asked of the job's row with each report, so
that a token dies with the attempt; the time in it is only the longest that a job may run.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from cryptography.fernet import InvalidToken, MultiFernet

from ..secret_box import fernet_of
from .caller import Attempt, Caller
from .errors import NotProven

#: What they begin with, so that nobody takes them for JWTs, and those who look for secrets in texts find them.
PREFIX = "bamboo-attempt."
_ASK_ANEW = "send the token that came with the job, or the pilot's own"


class AttemptTokens:
    """Issues and opens them."""

    def __init__(self, seal: MultiFernet) -> None:
        self._seal = seal

    @classmethod
    def build(cls, setting: str) -> AttemptTokens | None:
        """Those of a server with this `secrets_key`; None without one. Raises `BadSettings`."""
        seal = fernet_of(setting)
        return None if seal is None else cls(seal)

    def issue(self, attempt: Attempt, until: datetime) -> str:
        """A token for an attempt, good until it is over, and no longer than until a moment."""
        sealed = self._seal.encrypt(json.dumps([*attempt, int(until.timestamp())]).encode())
        return PREFIX + sealed.decode()

    def caller(self, token: str, now: datetime) -> Caller:
        """The pilot that a token was given to; raises `NotProven`."""
        try:
            pandaid, attempt_nr, until = json.loads(self._seal.decrypt(token.removeprefix(PREFIX)))
            expires = datetime.fromtimestamp(until, UTC)
        except (InvalidToken, ValueError, TypeError):
            raise NotProven("the token for an attempt is not one of this server's", hint=_ASK_ANEW) from None
        if now >= expires:
            raise NotProven(f"the token for an attempt expired at {expires.isoformat()}", hint=_ASK_ANEW)
        attempt = Attempt(pandaid, attempt_nr)
        return Caller(f"the pilot of {attempt}", frozenset({"pilot"}), attempt=attempt)
