"""The HTTP conversation: headers, repeats where they are safe, and the envelope taken off every reply."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from ..core.errors import Fault
from .errors import BadReply, Refused, ServerUnreachable
from .identity import Identity
from .logins import StoredLogin
from .rows import integer, text

#: Seconds to wait for a connection, and for the next bytes of a reply.
TIMEOUT_SECONDS = (5.0, 60.0)
#: The longest pause before a repeat, also when the server asks for more.
LONGEST_PAUSE_SECONDS = 10
API = "/api/v1/"
AWAY = frozenset({429, 502, 503, 504, 507})
BROKEN_OFF = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
TRY_AGAIN = "the server is busy or restarting; try again in a while"
STATUS_CODES = {
    401: "BAM-AUTH-001",
    403: "BAM-AUTH-002",
    404: "BAM-FIND-001",
    409: "BAM-STATE-001",
    422: "BAM-INPUT-001",
}


@dataclass(frozen=True)
class Reply:
    """What the server's envelope held."""

    message: str
    data: Any


class Headers(requests.auth.AuthBase):
    """Puts our identity on requests to the server; as an auth object, so that ~/.netrc cannot replace it."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self.headers)
        return request


def decode_moment(row: dict[str, Any]) -> Any:
    """PanDA's `{"__datetime__": ISO 8601}` as an aware datetime; other objects as they are."""
    text = row.get("__datetime__") if len(row) == 1 else None
    if not isinstance(text, str):
        return row
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class RetryRefused(Retry):
    """Repeats what was refused before it was looked at (429), and nothing else that got an answer."""

    RETRY_AFTER_STATUS_CODES = frozenset({429})


def open_session(*, repeats: int, repeatable: bool) -> requests.Session:
    """A session that repeats requests when the server says so: all of them if `repeatable`, otherwise only those that
    never left, and those of a user who asks too often."""
    retry = (Retry if repeatable else RetryRefused)(
        total=repeats,
        read=None if repeatable else False,
        other=0,
        backoff_factor=0.2,
        backoff_max=LONGEST_PAUSE_SECONDS,
        status_forcelist=(429, 503) if repeatable else (429,),
        allowed_methods=None,
        raise_on_status=False,
        retry_after_max=LONGEST_PAUSE_SECONDS,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


class Transport:
    """Talks to one server as one user. Raises `Refused`, `ServerUnreachable`, `BadReply`, or `LoginFailed`."""

    def __init__(self, url: str, identity: Identity, *, login: StoredLogin | None = None, repeats: int = 3) -> None:
        """With a `login` that is kept, its token is used, and renewed when it has to be."""
        self.url = url
        self.user = identity.user
        self._identity = identity
        self._login = login
        self._repeating = open_session(repeats=repeats, repeatable=True)
        self._once = open_session(repeats=repeats, repeatable=False)

    @property
    def identity(self) -> Identity:
        """Who calls, with a token that is valid now. Raises `LoginFailed` and `ServerUnreachable`."""
        return replace(self._identity, token=self._login.token()) if self._login else self._identity

    def get(self, path: str, **query: object) -> Any:
        """The `data` of a query below /api/v1/; arguments that are None are left out."""
        known = {key: value for key, value in query.items() if value is not None}
        return self._call(self._repeating, "GET", path, params=known).data

    def post(self, path: str, body: Mapping[str, object]) -> Reply:
        """Send a command. It may be repeated: it sets a state, or the key makes the server do it once."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._call(self._repeating, "POST", path, json=dict(body), headers=headers)

    def upload(self, path: str, file: Path) -> Reply:
        """Send a file as multipart field `file`; not repeated once the server has taken it."""
        with file.open("rb") as stream:
            part = {"file": (file.name, stream, "application/octet-stream")}
            return self._call(self._once, "POST", path, files=part)

    def page(self, path: str, **query: object) -> Any:
        """The data behind one of the server's pages."""
        response = self._ask(self._repeating, "GET", f"/{path}", params={**query, "json": "1"})
        if response.status_code != HTTPStatus.OK:
            read_reply(response, self.url)
        try:
            return response.json()
        except ValueError:
            raise foreign_reply(response, self.url) from None

    def lines(self, path: str, headers: Mapping[str, str], **query: object) -> Iterator[str]:
        """The lines of a stream of events as they come, until the server closes it; none when it is over."""
        response = self._ask(self._repeating, "GET", API + path, params=query, headers=dict(headers), stream=True)
        with response:
            if response.status_code == HTTPStatus.NO_CONTENT:
                return
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                read_reply(response, self.url)
                raise foreign_reply(response, self.url)
            try:
                for line in response.iter_lines(chunk_size=None):
                    yield line.decode()
            except BROKEN_OFF as error:
                raise ServerUnreachable(f"{self.url} broke off: {root_cause(error)}", hint=TRY_AGAIN) from error

    def _call(self, session: requests.Session, method: str, path: str, **request: Any) -> Reply:
        return read_reply(self._ask(session, method, API + path, **request), self.url)

    def _ask(self, session: requests.Session, method: str, path: str, **request: Any) -> requests.Response:
        request |= {"auth": Headers(self.identity.headers), "timeout": TIMEOUT_SECONDS, "allow_redirects": False}
        try:
            return session.request(method, f"{self.url}{path}", **request)
        except BROKEN_OFF as error:
            raise ServerUnreachable(
                f"no answer from {self.url}: {root_cause(error)}",
                hint="check --url or BAMBOO_URL, and that the server is up",
            ) from error
        except requests.RequestException as error:
            raise BadReply(f"{self.url} could not be asked: {root_cause(error)}") from error


def root_cause(error: BaseException) -> str:
    """The innermost reason of a connection error, without the wrappings of the HTTP libraries."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read_reply(response: requests.Response, url: str) -> Reply:
    """Take the envelope off a reply (PanDA's {"success", "message", "data"}), or raise what it means."""
    request_id = response.headers.get("X-Request-Id", "")
    try:
        envelope = json.loads(response.content, object_hook=decode_moment)
    except ValueError:
        envelope = None
    if isinstance(envelope, dict) and envelope.get("success") is True and response.status_code == 200:
        return Reply(str(envelope.get("message") or ""), envelope.get("data"))
    if not isinstance(envelope, dict) or "success" not in envelope:
        raise foreign_reply(response, url)
    raise refusal(envelope, response.status_code, request_id)


def foreign_reply(response: requests.Response, url: str) -> BadReply | ServerUnreachable:
    """The error for a reply that is not our envelope, by its status."""
    start = response.content[:200].decode("utf-8", "replace").strip()
    said = f"{url} answered with HTTP {response.status_code}" + (f": {start}" if start else " and nothing else")
    if response.status_code in AWAY:
        return ServerUnreachable(said, hint=TRY_AGAIN)
    return BadReply(said, hint="is this the address of a Bamboo server? see --url and BAMBOO_URL")


def refusal(envelope: Mapping[str, Any], http_status: int, request_id: str = "") -> Refused | ServerUnreachable:
    """The error for an envelope that says no; PanDA's way is HTTP 200, so the status may stand inside."""
    status = integer(envelope.get("status")) or (http_status if http_status != 200 else 422)
    hint = text(envelope.get("hint"))
    message = text(envelope.get("message")).removesuffix(f" ({hint})") or "the server refused and gave no reason"
    if status in AWAY:
        return ServerUnreachable(message, hint=hint or TRY_AGAIN)
    return Refused(
        message,
        code=str(envelope.get("code") or STATUS_CODES.get(status, "BAM-001")),
        status=status,
        faults=read_faults(envelope.get("errors")),
        request_id=str(envelope.get("request_id") or request_id),
        hint=hint,
    )


def read_faults(errors: object) -> list[Fault]:
    """The envelope's `errors`: [{"where", "what", "do"}]."""
    rows = [row for row in errors if isinstance(row, Mapping)] if isinstance(errors, list) else []
    return [Fault(text(row.get("where")) or "request", text(row.get("what")), text(row.get("do"))) for row in rows]
