"""Secrets of users: sealed with the server's key when they come in, opened only for their user and that user's jobs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ..core.errors import BadSettings, BadState, Fault
from ..core.files import referenced
from ..sql import secrets

log = logging.getLogger(__name__)

_WHERE = "[server] secrets_key"


def fernet_of(setting: str) -> MultiFernet | None:
    """The keys of a setting, `file:PATH` or `env:NAME`; None for an empty one. Raises `BadSettings`."""
    if not setting:
        return None
    try:
        text = referenced(setting)
        return MultiFernet([Fernet(line.strip()) for line in text.splitlines() if line.strip()])
    except KeyError:
        fault = Fault(_WHERE, f"{setting[:200]!r} leads to no key", "give file:PATH, or env:NAME of a variable")
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "holds no Fernet keys"
        fault = Fault(_WHERE, f"{setting[:200]!r}: {what}", "docs/identity.md says how a key is made")
    raise BadSettings("secrets cannot be kept", [fault])


class SecretBox:
    """Seals and opens. Of several keys the first seals, so that keys can be changed without losing anything."""

    def __init__(self, fernet: MultiFernet) -> None:
        self._fernet = fernet

    @classmethod
    def build(cls, setting: str) -> SecretBox | None:
        """The box of a setting; None for an empty one. Raises `BadSettings`."""
        fernet = fernet_of(setting)
        return None if fernet is None else cls(fernet)

    def seal(self, user_name: str, key: str, value: str) -> str:
        """What is stored: it opens only as this secret of this user."""
        return self._fernet.encrypt(json.dumps([user_name, key, value]).encode()).decode()

    def open(self, row: sa.Row[Any]) -> str:
        """The value of a row of `secrets`; raises `BadState` when the key is another, or it was tampered with."""
        try:
            user_name, key, value = json.loads(self._fernet.decrypt(row.sealed))
        except (InvalidToken, ValueError):
            user_name = key = value = None
        if (user_name, key) != (row.user_name, row.key):
            extra = {"event": "secret_sealed", "user": row.user_name, "key": row.key}
            log.error("a secret cannot be opened", extra=extra)
            raise BadState(f"the secret {row.key} cannot be read", hint="set it again; the server's key was changed")
        return str(value)

    def text_of(self, tx: sa.Connection, user_name: str) -> str:
        """A user's secrets as PanDA's clients read them: JSON text of an object. Raises `BadState`."""
        return json.dumps({row.key: self.open(row) for row in secrets.of_users(tx, [user_name])})

    def for_jobs(self, tx: sa.Connection, jobs: Sequence[Any]) -> dict[int, str]:
        """The same for those of the jobs that use secrets, by job; what cannot be opened is left out (and logged)."""
        wanted = {job.pandaid: job.user_name for job in jobs if job.uses_secrets}
        found: dict[str, dict[str, str]] = {name: {} for name in wanted.values()}
        for row in secrets.of_users(tx, found.keys()) if found else ():
            try:
                found[row.user_name][row.key] = self.open(row)
            except BadState:
                continue
        return {pandaid: json.dumps(found[user_name]) for pandaid, user_name in wanted.items()}
