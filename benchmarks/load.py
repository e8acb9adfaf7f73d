"""The load generator: a few processes, each with many kept-alive connections and one loop around epoll.

It has to cost little beside the servers, so requests are bytes that are made beforehand where possible, and of answers
only what is needed is read. What it costs is measured with each load.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import select
import socket
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

#: Processes wait so long for each other before they begin.
START_SECONDS = 0.1
#: Answers that are still out at the end are waited for so long.
LAST_SECONDS = 30.0
IDLE_SECONDS = 0.05
HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Request:
    """Bytes to send. `kind` names it in the figures, `about` is the source's own."""

    kind: str
    payload: bytes
    about: Any = None


class Source(Protocol):
    """Where the requests of one process come from."""

    def begin(self, at: float) -> None:
        """The load begins at this moment of the monotonic clock."""

    def next(self) -> tuple[float, Request] | None:
        """The next request, and when it is due by the monotonic clock (0: at once).

        None when there is none before another answer; when none is out, the load is over.
        """

    def answered(self, request: Request, status: int, body: bytes) -> str:
        """Take note of an answer; returns what is wrong with it, or nothing."""


@dataclass
class Tally:
    """What one process, or all together, have seen. Times are seconds from when a request was due to its
    answer, of those that were answered as wanted."""

    seconds: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    errors: Counter[str] = field(default_factory=Counter)
    late: array[float] = field(default_factory=lambda: array("d"))  #: how late the generator sent, though free to
    elapsed: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def n(self) -> int:
        return sum(map(len, self.seconds.values()))

    def add(self, other: Tally) -> None:
        for kind, some in other.seconds.items():
            self.seconds[kind].extend(some)
        self.errors.update(other.errors)
        self.late.extend(other.late)
        self.elapsed = max(self.elapsed, other.elapsed)
        self.cpu_seconds += other.cpu_seconds

    def rate(self, *kinds: str) -> float:
        """Answers per second, of some kinds or of all."""
        return sum(len(self.seconds[kind]) for kind in (kinds or tuple(self.seconds))) / self.elapsed

    def p_ms(self, percent: float, *kinds: str) -> float:
        """The percentile of the times in milliseconds, of some kinds or of all; 0 where there was nothing."""
        chosen = kinds or tuple(self.seconds)
        return 1000 * percentile([one for kind in chosen for one in self.seconds[kind]], percent)

    def late_p_ms(self, percent: float) -> float:
        """The percentile of how late the generator itself was, in milliseconds."""
        return 1000 * percentile(self.late, percent)

    def by_kind(self) -> dict[str, dict[str, float]]:
        """The figures of each kind of request."""
        return {
            kind: {"per s": self.rate(kind), "p50 ms": self.p_ms(50, kind), "p99 ms": self.p_ms(99, kind)}
            for kind in self.seconds
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def http_request(method: str, path: str, token: str = "", body: Any = None) -> bytes:
    """A request as bytes; `body` becomes JSON."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    if token:
        lines += [f"Authorization: Bearer {token}", "Origin: bamboo"]
    if content:
        lines.append("Content-Type: application/json")
    return "\r\n".join(lines).encode() + HEAD_END + content


def run_load(
    addresses: Sequence[tuple[str, int]], sources: Sequence[Source], *, connections: int, seconds: float
) -> Tally:
    """Let each source drive a process with so many connections for some seconds; returns what all have seen.

    The servers get the sources in turn.
    """
    given = zip(itertools.cycle(addresses), sources, strict=False)
    return together(_drive, [(address, source, connections, seconds) for address, source in given])


def together(work: Callable[..., Tally], arguments: Sequence[tuple[Any, ...]]) -> Tally:
    """Have processes work at the same time, one for each tuple of arguments; returns what all have seen.

    `work` is called with a function that waits until all are ready and gives the moment to begin at.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    for given in arguments:
        ours, theirs = spawn.Pipe()
        spawn.Process(target=_work, args=(theirs, work, *given), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    begin_at = time.monotonic() + START_SECONDS
    for pipe in pipes:
        pipe.send(begin_at)
    total = Tally()
    for pipe in pipes:
        total.add(pipe.recv())
    for process in multiprocessing.active_children():
        process.join()
    return total


def _work(pipe: Connection, work: Callable[..., Tally], *given: Any) -> None:
    def ready() -> float:
        pipe.send("ready")
        begin_at = float(pipe.recv())
        time.sleep(max(0.0, begin_at - time.monotonic()))
        return begin_at

    tally = work(ready, *given)
    tally.seconds = dict(tally.seconds)  # with a default made by a function it could not travel
    pipe.send(tally)


def _drive(
    ready: Callable[[], float], address: tuple[str, int], source: Source, connections: int, seconds: float
) -> Tally:
    driver = Driver(address, source, connections)
    return driver.run(ready(), seconds)


class _Line:
    """One connection, with the request that is out on it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=LAST_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request: Request | None = None
        self.counted_from = 0.0
        self.received = b""

    def answer(self) -> tuple[int, bytes] | None:
        """The status and body of the answer when all of it is here."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self.received += chunk
        end = self.received.find(HEAD_END)
        if end < 0:
            return None
        head = self.received[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        begin = end + len(HEAD_END)
        if len(self.received) < begin + length:
            return None
        body, self.received = self.received[begin : begin + length], self.received[begin + length :]
        return int(head[9:12]), body


class Driver:
    """Sends what is due over whichever connection is free."""

    def __init__(self, address: tuple[str, int], source: Source, connections: int) -> None:
        self._address = address
        self._source = source
        self._poll = select.epoll()
        self._lines: dict[int, _Line] = {}
        self._free: list[_Line] = []
        self._next: tuple[float, Request] | None = None
        self._freed_at = 0.0  # when a connection got free after none had been
        self._tally = Tally()
        for _ in range(connections):
            self._connect()

    def _connect(self) -> None:
        line = _Line(self._address)
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        self._free.append(line)

    def run(self, begin_at: float, seconds: float) -> Tally:
        """Send from that moment on, wait for what is out, and return what was seen."""
        self._source.begin(begin_at)
        cpu, end = time.process_time(), begin_at + seconds
        while (now := time.monotonic()) < end:
            pause = self._send(now)
            if pause is None and len(self._free) == len(self._lines):
                break
            self._receive(min(IDLE_SECONDS if pause is None else pause, end - now))
        self._tally.elapsed = time.monotonic() - begin_at
        while len(self._free) < len(self._lines) and time.monotonic() < end + LAST_SECONDS:
            self._receive(0.1)
        self._tally.cpu_seconds = time.process_time() - cpu
        unanswered = len(self._lines) - len(self._free)
        if unanswered:
            self._tally.errors["no answer"] += unanswered
        for line in self._lines.values():
            line.socket.close()
        self._poll.close()
        return self._tally

    def _send(self, now: float) -> float | None:
        """Send all that is due and finds a free connection; returns when the next is due, None if there is none."""
        while self._free:
            coming = self._next or self._source.next()
            self._next = None
            if coming is None:
                return None
            due, request = coming
            if due > now:
                self._next = coming
                return due - now
            line = self._free.pop()
            line.request, line.counted_from = request, due or now
            if due:
                self._tally.late.append(now - max(due, self._freed_at))
            line.socket.sendall(request.payload)
        return IDLE_SECONDS

    def _receive(self, seconds: float) -> None:
        for number, _ in self._poll.poll(max(0.0, seconds)):
            line = self._lines[number]
            try:
                answer = line.answer()
            except OSError as error:
                self._lost(line, error)
                continue
            if answer is None or line.request is None:
                continue
            taken = time.monotonic() - line.counted_from
            wrong = self._source.answered(line.request, *answer)
            if wrong:
                self._tally.errors[f"{line.request.kind}: {wrong}"[:300]] += 1
            else:
                self._tally.seconds[line.request.kind].append(taken)
            line.request = None
            if not self._free:
                self._freed_at = time.monotonic()
            self._free.append(line)

    def _lost(self, line: _Line, error: OSError) -> None:
        kind = line.request.kind if line.request else "between requests"
        self._tally.errors[f"{kind}: {error}"] += 1
        self._poll.unregister(line.socket)
        del self._lines[line.socket.fileno()]
        line.socket.close()
        if line in self._free:
            self._free.remove(line)
        self._connect()
