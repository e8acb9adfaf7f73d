"""Where the requests of a load come from. They travel to other processes, so that this module loads next to nothing."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.fernet import Fernet, MultiFernet

from bamboo.server.auth.attempt_tokens import AttemptTokens
from bamboo.server.auth.caller import Attempt

from .load import Request, http_request
from .pilots import STEPS, claim_request, final_report, first_job, outputs_of, report_request, what_is_wrong

RUNNING_JOBS = 600_000
HEARTBEAT_SECONDS = 1800
JOBS_PER_SECOND = 5_000_000 / (7 * 24 * 3600)
#: Requests per second of 1 ATLAS, by kind.
MIX: Mapping[str, float] = {
    "heartbeat": RUNNING_JOBS / HEARTBEAT_SECONDS,
    **dict.fromkeys(("claim", "running", "finished", "no work"), JOBS_PER_SECOND),
}


@dataclass
class Lives:
    """Jobs' lives, as many at a time as there are connections: the first `n_steps` of claim, running, heartbeat and
    finished. At most `limit` jobs are claimed."""

    token: str
    queues: Sequence[str]
    seed: int
    limit: int
    n_steps: int = len(STEPS)
    _claims: dict[str, Request] = field(default_factory=dict)
    _next: deque[Request] = field(default_factory=deque)

    def begin(self, at: float) -> None:
        self._dice = random.Random(self.seed)
        self._claims = {queue: claim_request(self.token, queue) for queue in self.queues}

    def next(self) -> tuple[float, Request] | None:
        if self._next:
            return 0.0, self._next.popleft()
        if self.limit <= 0:
            return None
        self.limit -= 1
        return 0.0, self._claims[self._dice.choice(self.queues)]

    def answered(self, request: Request, status: int, body: bytes) -> str:
        wrong = what_is_wrong(status, body)
        done = STEPS.index(request.kind) + 1
        if wrong or done >= self.n_steps:
            return wrong
        pandaid = request.about if done > 1 else first_job(body)
        following = STEPS[done]
        if following == "finished":
            self._next.append(final_report(self.token, pandaid, outputs_of(pandaid)))
        else:
            self._next.append(report_request(following, self.token, pandaid))
        return ""


@dataclass
class Repeated:
    """The same request over and over."""

    request: Request

    def begin(self, at: float) -> None:
        pass

    def next(self) -> tuple[float, Request] | None:
        return 0.0, self.request

    def answered(self, request: Request, status: int, body: bytes) -> str:
        return "" if status == 200 else f"HTTP {status} {body[:200]!r}"


@dataclass
class InTurn:
    """Some requests over and over."""

    requests: Sequence[Request]
    _sent: int = 0

    def begin(self, at: float) -> None:
        pass

    def next(self) -> tuple[float, Request] | None:
        self._sent += 1
        return 0.0, self.requests[self._sent % len(self.requests)]

    def answered(self, request: Request, status: int, body: bytes) -> str:
        return "" if status == 200 else f"HTTP {status} {body[:200]!r}"


@dataclass
class Mix:
    """The requests of one process: `rate` times 1 ATLAS. Heartbeats are those of jobs that nothing else happens to."""

    token: str
    queues: Sequence[str]
    empty_queue: str
    rate: float
    seed: int
    beating: Sequence[range]  #: jobs that run on
    ending: range  #: jobs that end
    key: str = ""  #: the server's `secrets_key`: pilots report with tokens for their attempts, and not with their own
    _claimed: deque[int] = field(default_factory=deque)

    def begin(self, at: float) -> None:
        self._tokens = AttemptTokens(MultiFernet([Fernet(self.key)])) if self.key else None
        self._until = datetime.now(UTC) + timedelta(days=1)
        self._dice = random.Random(self.seed)
        self._per_second = self.rate * sum(MIX.values())
        self._kinds, self._weights = list(MIX), list(MIX.values())
        self._claims = [claim_request(self.token, queue) for queue in self.queues]
        empty = claim_request(self.token, self.empty_queue)
        self._no_work = Request("no work", empty.payload)
        self._due = at
        self._enders = iter(self.ending)

    def next(self) -> tuple[float, Request] | None:
        self._due += self._dice.expovariate(self._per_second)
        return self._due, self._request(self._dice.choices(self._kinds, self._weights)[0])

    def _request(self, kind: str) -> Request:
        if kind == "claim":
            return self._dice.choice(self._claims)
        if kind == "no work":
            return self._no_work
        if kind == "running" and self._claimed:
            return self._report("running", self._claimed.popleft())
        if kind == "finished" and (pandaid := next(self._enders, None)):
            return final_report(self._token(pandaid), pandaid, outputs_of(pandaid))
        return self._report("heartbeat", self._beating())

    def _report(self, kind: str, pandaid: int) -> Request:
        return report_request(kind, self._token(pandaid), pandaid)

    def _token(self, pandaid: int) -> str:
        return self._tokens.issue(Attempt(pandaid, 1), self._until) if self._tokens else self.token

    def _beating(self) -> int:
        (some,) = self._dice.choices(self.beating, [len(one) for one in self.beating])
        return self._dice.choice(some)

    def answered(self, request: Request, status: int, body: bytes) -> str:
        if request.kind == "no work":
            return "" if status == 200 and b"No jobs" in body else f"HTTP {status} {body[:200]!r}"
        wrong = what_is_wrong(status, body)
        if request.kind == "claim" and not wrong:
            self._claimed.append(first_job(body))
        return wrong


@dataclass
class Looks:
    """A view, asked for again and again, each time of another task or job."""

    kind: str
    token: str
    paths: Sequence[str]
    seed: int

    def begin(self, at: float) -> None:
        self._dice = random.Random(self.seed)
        self._requests = [Request(self.kind, http_request("GET", path, self.token)) for path in self.paths]

    def next(self) -> tuple[float, Request] | None:
        return 0.0, self._dice.choice(self._requests)

    def answered(self, request: Request, status: int, body: bytes) -> str:
        failed = status != 200 or b'"success":false' in body[:40]
        return f"HTTP {status} {body[:200]!r}" if failed else ""
