"""HTTP with kept-alive connections, one per thread, and one meaning for each kind of failure."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit

from .errors import Refused, ServerAway

ANSWER_LIMIT_BYTES = 64 << 20
LINE_LIMIT_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float:
        """Seconds the server asks us to wait, 0 when it does not; dates are not understood."""
        return _seconds(self.headers.get("retry-after", ""))

    def json(self) -> Any:
        """Read the body as JSON; raises ServerAway when it is something else, as a proxy's error page is."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ServerAway(f"HTTP {self.status} with unreadable text: {self.body[:200]!r}") from error


class LineStream:
    """An answer that comes line by line, over a connection of its own; `close` it at the end."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse, sock: Any) -> None:
        self._connection = connection
        self._answer = answer
        self._sock = sock
        self.status = answer.status
        self.media_type = answer.headers.get("Content-Type", "")
        self.retry_after = _seconds(answer.headers.get("Retry-After", ""))

    def lines(self) -> Iterator[str]:
        """The lines as they come, without their ends, until the server closes. Raises ServerAway."""
        try:
            while line := self._answer.readline(LINE_LIMIT_BYTES):
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerAway(f"broke off: {type(error).__name__}: {error}") from error

    def json(self) -> Any:
        """What there is in place of lines, as JSON; None when it is something else, or does not come as a whole."""
        try:
            return json.loads("\n".join(self.lines()))
        except (ServerAway, ValueError):
            return None

    def stop(self) -> None:
        """End the stream, whoever reads it; any thread may."""
        with suppress(OSError):
            # That of TLS sockets takes away what a reader in another thread needs.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


@dataclass(frozen=True)
class Credentials:
    """What the pilot shows of itself: a bearer token (read anew for each call) and the TLS roots."""

    token: Callable[[], str] = lambda: ""
    origin: str = ""
    cacert: str | None = None
    capath: str | None = None

    def headers(self) -> dict[str, str]:
        token = self.token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if token and self.origin:
            headers["Origin"] = self.origin
        return headers

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.cacert, capath=self.capath)


def find_token(setting: str) -> str:
    """Read the token that PANDA_AUTH_TOKEN names: a file's content, or the setting itself."""
    if not setting:
        return ""
    try:
        return Path(setting).read_text().strip()
    except OSError:
        return setting


class Transport:
    """Talks to one server. Every thread has its own connection; a dead one is noticed before use."""

    def __init__(self, base_url: str, credentials: Credentials, user_agent: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) address: {base_url}")
        self.base_url = base_url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._credentials = credentials
        self._user_agent = user_agent
        self._tls = credentials.tls() if self._secure else None
        self._local = threading.local()

    def request(
        self,
        method: str,
        path: str,
        timeout: float,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer; `body` goes as JSON. Raises ServerAway."""
        sent = self._headers("application/json")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        connection = self._connection(timeout)
        try:
            connection.request(method, self._prefix + path, data, sent)
            answer = connection.getresponse()
            content = answer.read(ANSWER_LIMIT_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ServerAway(f"{method} {path}: {type(error).__name__}: {error}") from error
        if answer.will_close:
            self.close()
        return Answer(answer.status, {key.lower(): value for key, value in answer.headers.items()}, content)

    def open_stream(
        self, path: str, timeout: float, silence_seconds: float, accept: str, headers: Mapping[str, str]
    ) -> LineStream:
        """Ask for an answer that goes on and on; one that is silent for so long counts as broken. Raises ServerAway."""
        connection = self._new_connection(timeout)
        try:
            connection.request("GET", self._prefix + path, headers={**self._headers(accept), **headers})
            sock = connection.sock  # which an answer may take away
            answer = connection.getresponse()
            sock.settimeout(silence_seconds)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerAway(f"GET {path}: {type(error).__name__}: {error}") from error
        return LineStream(connection, answer, sock)

    def _headers(self, accept: str) -> dict[str, str]:
        return {"User-Agent": self._user_agent, "Accept": accept, **self._credentials.headers()}

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None and connection.sock is not None:
            readable, _, _ = select.select([connection.sock], [], [], 0)
            if not readable:  # readable while idle means that the server has closed it
                connection.sock.settimeout(timeout)
                return connection
            self.close()
        connection = self._local.connection = self._new_connection(timeout)
        return connection

    def _new_connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


def _seconds(retry_after: str) -> float:
    words = retry_after.strip()
    return float(words) if words.isascii() and words.isdecimal() and len(words) < 8 else 0.0


def get_elsewhere(url: str, timeout: float) -> Answer:
    """Read an address that is not the server's, without credentials; follows redirects. Raises ServerAway."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise Refused(f"not an http(s) address: {url}")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - scheme checked above
            return Answer(answer.status, {}, answer.read(ANSWER_LIMIT_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {}, error.read(1000))
    except (OSError, http.client.HTTPException) as error:
        raise ServerAway(f"GET {url}: {error}") from error
