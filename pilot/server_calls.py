"""The pilot's calls to the server (pilot protocol, v1 API), with retries and their meaning."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ..core.backoff import Backoff
from ..core.event_stream import EVENT_STREAM
from .errors import Refused, ServerAway, StaleAttempt
from .job_spec import number, text
from .lease import boot_seconds
from .transport import Answer, LineStream, Transport, get_elsewhere

log = logging.getLogger(__name__)

CALL_SECONDS = 30.0
LONG_POLL_SECONDS = 60  # how long the server may keep a request for work waiting for a job
SILENCE_SECONDS = 60.0  # of a stream on which the server says every 15 s that it is there
GIVE_UP_STATUSES = frozenset({400, 405, 413, 422})  # of reports; a token may be renewed, a proxy may come back
GIVE_UP_ASKING = GIVE_UP_STATUSES | {401, 403, 404}  # of everything else


@dataclass(frozen=True)
class Reply:
    """The server's word on an update; one that is not `accepted` brings a command all the same."""

    accepted: bool
    sent_at: float
    command: str
    lease_seconds: float | None


@dataclass(frozen=True)
class Patience:
    """How long to insist: at most `tries` requests, none after `until` (boot seconds, asked anew each time)."""

    tries: int
    until: Callable[[], float] = lambda: float("inf")
    call_seconds: float = CALL_SECONDS


class ServerCalls:
    """One method a call. `pause` waits between tries and may return early when the pilot stops."""

    def __init__(
        self,
        transport: Transport,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.transport = transport
        self._pause = pause
        self._clock = clock

    def document(self, url: str) -> Any:
        """Read a start-up document. Raises ServerAway, Refused."""
        return self._get(url).json()

    def download(self, url: str) -> bytes:
        """Read a small file. Raises ServerAway, Refused."""
        return self._get(url).body

    def _get(self, url: str) -> Answer:
        base = self.transport.base_url
        if url.startswith(base + "/"):
            return self._call("GET", url[len(base) :], Patience(5))[1]
        return self._insist(f"GET {url}", Patience(5), lambda timeout, retry: get_elsewhere(url, timeout))[1]

    def acquire(self, request: Mapping[str, Any]) -> tuple[float, Mapping[str, Any] | None]:
        """Ask for one job; gives the moment of asking and the job dictionary, or None when there is no work.

        Retries carry the same Idempotency-Key, so a job whose hand-over got lost is handed over again. With the job
        comes a token for its attempt, from a server that has such.
        """
        key = str(uuid.uuid4())
        sent_at, answer = self._call(
            "POST",
            "/api/v1/pilot/acquire_jobs",
            Patience(6, call_seconds=LONG_POLL_SECONDS + CALL_SECONDS),
            {**request, "n_jobs": 1, "timeout": LONG_POLL_SECONDS},
            {"Idempotency-Key": key, "X-Attempt-Token": "1"},
        )
        envelope = answer.json()
        data = envelope.get("data") or {}
        if not envelope.get("success"):
            if "no job" in text(envelope.get("message")).lower():
                return sent_at, None
            raise Refused(f"request for work refused: {envelope.get('message')}")
        jobs = data.get("jobs") or []
        if jobs and not number(jobs[0].get("PandaID")):
            raise Refused("the server handed out a job without PandaID")
        return sent_at, jobs[0] if jobs and number(data.get("StatusCode")) == 0 else None

    def update(self, report: Mapping[str, Any], patience: Patience, token: str) -> Reply:
        """Report on a job, with the token for its attempt if there is one.

        Raises StaleAttempt when it is not ours any more, Refused, ServerAway.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        sent_at, answer = self._call("POST", "/api/v1/pilot/update_job", patience, report, headers, token)
        envelope = answer.json()
        data = envelope.get("data")
        data = data if isinstance(data, Mapping) else {}
        command = text(data.get("command")) or text(envelope.get("command"))
        if answer.status == 409 or text(data.get("reason")) == "stale_attempt":
            raise StaleAttempt(text(envelope.get("message")) or "the server gave the job to another attempt")
        if envelope.get("success") and number(data.get("StatusCode")) == 0:
            return Reply(True, sent_at, command, float(number(data.get("leaseSeconds"))) or None)
        if "tobekilled" in command:
            return Reply(False, sent_at, command, None)
        raise Refused(text(envelope.get("message")) or f"update refused: {text(data.get('reason'))}")

    def orders(self, pandaid: int, attempt_nr: int, last_id: str, token: str) -> LineStream:
        """Open the stream on which the server rings when there is an order for a job, from the last event on.

        Tried once; gives the answer whatever it is. `token` is that for the job's attempt, if there is one.
        Raises StaleAttempt when the job is over or not ours any more, ServerAway.
        """
        path = f"/api/v1/pilot/orders?job_id={pandaid}&attempt_nr={attempt_nr}"
        place = {"Last-Event-ID": last_id} if last_id else {}
        as_job = {"Authorization": f"Bearer {token}"} if token else {}
        how = (path, CALL_SECONDS, SILENCE_SECONDS, EVENT_STREAM)
        stream = self.transport.open_stream(*how, {**place, **as_job})
        if stream.status == 401 and as_job:
            stream.close()
            stream = self.transport.open_stream(*how, place)
        if stream.status in (204, 409) or _is_stale(stream):
            stream.close()
            raise StaleAttempt("no orders for this attempt any more")
        return stream

    def event_call(self, verb: str, body: Mapping[str, Any], patience: Patience, token: str) -> Mapping[str, Any]:
        """Ask for event ranges (`acquire`) or report on them (`update`); gives the data of the answer.

        `token` is that for the job's attempt, if there is one.
        Raises StaleAttempt when the job is not ours any more, Refused, ServerAway.
        """
        _, answer = self._call("POST", f"/api/v1/event/{verb}_event_ranges", patience, body, token=token)
        envelope = answer.json()
        data = envelope.get("data")
        if answer.status == 409:
            raise StaleAttempt(text(envelope.get("message")) or "the server gave the job to another attempt")
        if not envelope.get("success") or not isinstance(data, Mapping) or number(data.get("StatusCode")):
            raise Refused(text(envelope.get("message")) or f"{verb}_event_ranges refused")
        return data

    def _call(
        self,
        method: str,
        path: str,
        patience: Patience,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str = "",
    ) -> tuple[float, Answer]:
        """Send a request to the server, again and again if need be.

        Gives the moment of the *first* sending: the server may have acted on it though its answer got lost. `token`
        is shown in place of the pilot's own; if the server does not know it (any more), the pilot's own has to do.
        """
        as_job = {"Authorization": f"Bearer {token}"} if token else {}

        def send(timeout: float, retry: int) -> Answer:
            all_headers = {**(headers or {}), **({"X-Retry": str(retry)} if retry else {})}
            answer = self.transport.request(method, path, timeout, body, {**all_headers, **as_job})
            if answer.status == 401 and as_job:
                log.warning("the job's token is not taken", extra={"event": "job_token", "problem": answer.body[:200]})
                as_job.clear()
                answer = self.transport.request(method, path, timeout, body, all_headers)
            return answer

        return self._insist(f"{method} {path}", patience, send)

    def _insist(self, what: str, patience: Patience, send: Callable[[float, int], Answer]) -> tuple[float, Answer]:
        """Send until an answer comes that means something, or patience ends."""
        backoff = Backoff(0.5, 20.0)
        sent_at = self._clock()
        while True:
            wait_at_least = 0.0
            timeout = max(0.5, min(patience.call_seconds, patience.until() - self._clock()))
            try:
                answer = send(timeout, backoff.tries)
                if answer.status < 300 or answer.status == 409:
                    return sent_at, answer
                problem = f"{what}: HTTP {answer.status}: {answer.body[:200]!r}"
                if answer.status in (
                    GIVE_UP_STATUSES if what.endswith(("/update_job", "_event_ranges")) else GIVE_UP_ASKING
                ):
                    raise Refused(problem)
                wait_at_least = min(answer.retry_after, 60.0)
            except ServerAway as error:
                problem = str(error)
            delay = max(backoff.next_seconds(), wait_at_least)
            if backoff.tries >= patience.tries or self._clock() + delay >= patience.until():
                raise ServerAway(problem)
            log.info(
                "no answer, trying again", extra={"event": "retry", "problem": problem, "seconds": round(delay, 2)}
            )
            self._pause(delay)


def _is_stale(stream: LineStream) -> bool:
    """Whether an answer in place of a stream says that the job is another attempt's."""
    if stream.status != 200 or "json" not in stream.media_type:
        return False
    envelope = stream.json()
    data = envelope.get("data") if isinstance(envelope, Mapping) else None
    return isinstance(data, Mapping) and text(data.get("reason")) == "stale_attempt"
