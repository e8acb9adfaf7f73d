"""Logins that are kept between commands: a file for each server, for its user's eyes only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..core.clock import Clock, utc_now
from ..core.files import OWNER_ONLY, replace_file
from .errors import LoginFailed, ServerUnreachable
from .identity import token_claims
from .oidc import LOG_IN, Application, Provider, Tokens

#: A token is renewed so long before its end, or a fifth of its life if that is less.
MARGIN = timedelta(minutes=5)
OTHERS = 0o077


@dataclass(frozen=True)
class Login:
    """What is kept of a login."""

    server: str
    vo: str
    issuer: str
    application: Application
    tokens: Tokens

    @classmethod
    def read(cls, text: str) -> Login:
        """Raises `ValueError` for what is none."""
        try:
            told = json.loads(text)
            parts = {"application": Application(**told["application"]), "tokens": Tokens(**told["tokens"])}
            return cls(**{**told, **parts})
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no login: {error}") from error

    @property
    def ends_at(self) -> datetime:
        """When the token expires."""
        return _moment(token_claims(self.tokens.id_token), "exp") or datetime.fromtimestamp(0, UTC)

    def is_fresh(self, now: datetime) -> bool:
        """Whether the token need not be renewed yet."""
        begun = _moment(token_claims(self.tokens.id_token), "iat")
        margin = min(MARGIN, (self.ends_at - begun) / 5) if begun else MARGIN
        return now < self.ends_at - margin

    @property
    def person(self) -> str:
        """Whom the token is about, for people to read."""
        claims = token_claims(self.tokens.id_token)
        return str(claims.get("preferred_username") or claims.get("name") or claims.get("sub") or "somebody")


class LoginStore:
    """The file with the login for one server."""

    def __init__(self, server: str, environ: Mapping[str, str] = os.environ) -> None:
        given, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "/")
        state = Path(given) if given.startswith("/") else Path(home) / ".local" / "state"
        name = re.sub(r"[^a-z0-9.-]+", "_", server.lower()).strip("_")[:80]
        self.server = server
        self.path = state / "bamboo" / "logins" / f"{name}.{hashlib.sha256(server.encode()).hexdigest()[:8]}.json"

    def read(self) -> Login | None:
        """The login, if there is one. Raises `LoginFailed` for a file that is damaged, or that others can read."""
        try:
            with self.path.open() as stream:
                if os.fstat(stream.fileno()).st_mode & OTHERS:
                    raise LoginFailed(f"others can read your login in {self.path}", hint=f"remove it, and {LOG_IN}")
                found = Login.read(stream.read())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except ValueError as error:
            raise LoginFailed(f"{self.path} is damaged: {error}", hint=LOG_IN) from error
        return found if found.server == self.server else None

    def write(self, login: Login) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.path, json.dumps(asdict(login), indent=1).encode())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other process writes. The lock file stays, as others may be waiting for it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class StoredLogin:
    """Gives a token that is valid now, renewing it when its end is near. Threads may share it."""

    def __init__(self, store: LoginStore, login: Login, clock: Clock = utc_now) -> None:
        self._store = store
        self._login = login
        self._clock = clock
        self._lock = threading.Lock()

    @property
    def vo(self) -> str:
        return self._login.vo

    def token(self) -> str:
        """The token to send. Raises `LoginFailed` when the login is over, `ServerUnreachable` when nobody can say."""
        with self._lock:
            if not self._login.is_fresh(self._clock()):
                try:
                    self._renew()
                except (LoginFailed, ServerUnreachable):
                    # A login that cannot be renewed is good to its end.
                    if self._clock() >= self._login.ends_at:
                        raise
            return self._login.tokens.id_token

    def _renew(self) -> None:
        """One process renews, for a refresh token may be good for one use only; the others find what it has got."""
        with self._store.alone():
            login = self._store.read()
            if login is None:
                raise LoginFailed(f"you have logged out of {self._store.server}", hint=LOG_IN)
            if not login.is_fresh(self._clock()):
                login = self._renewed(login)
                self._store.write(login)
            self._login = login

    def _renewed(self, login: Login) -> Login:
        if not login.tokens.refresh_token:
            raise LoginFailed("your login has expired, and the provider gave nothing to renew it by", hint=LOG_IN)
        provider = Provider(login.application, self._clock)
        if provider.issuer != login.issuer:
            raise LoginFailed(f"the provider of your login was {login.issuer}, and is {provider.issuer}", hint=LOG_IN)
        return replace(login, tokens=provider.renew(login.tokens.refresh_token))


def kept_login(server: str) -> StoredLogin | None:
    """The login that is kept for a server."""
    store = LoginStore(server)
    found = store.read()
    return StoredLogin(store, found) if found else None


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
