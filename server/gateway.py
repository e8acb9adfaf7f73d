"""Between granian's event loop and the WSGI application: a request gets a thread only when it is here as a whole.

Handed over at once, eight clients that send half a body, or whose machines vanish in the middle of one, would hold all
threads for ever. Here a body that stands still is given up, and waits on the event loop until then, where it costs
a socket. Large bodies wait on disk. Reports go to the fast lane first. When all threads wait for a database that
says nothing, whoever comes too late is told so at once, and /livez is answered here. Live views go on here after
their route has answered, without its thread.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from flask import Flask

from ..core.errors import BambooError, Unavailable
from .api.pages import LIVE
from .batches import Batches
from .context import REQUEST_ID_HEADER, context_of, request_id_by
from .envelope import JSON, json_text, refused
from .errors import no_space, when_again
from .fast_lane import MAX_BYTES, METHOD, PATH, FastLane, Sent, Stepping
from .live.feeds import ORDERS
from .live.streams import WANTED, Streams, Wanted
from .old_style.replies import ASK_AGAIN

#: A client that sends nothing for so long in the middle of a body is given up.
SILENCE_SECONDS = 30.0
#: Bodies up to here are kept in memory.
IN_MEMORY_BYTES = 1 << 20
#: Bodies that say that they are no larger have to be here as a whole after the time of one silence.
SMALL_BYTES = 1 << 16
UPLOAD_SUFFIXES = ("/upload_cache_file", "/putFile")
ALIVE = "/livez"
#: Whose pilots end with their slots when they get an HTTP error (pilot protocol 5).
GET_JOB = "/server/panda/getJob"
#: Where pilots come to listen: of all that run, most may find no room.
ORDERS_PATH = "/api/v1/pilot/orders"
#: Comes before the signal that ends a process: whoever reads a stream goes to another one.
END_STREAMS = signal.SIGUSR1

NO_ROOM = Unavailable("the server has too many streams", hint="try again soon")
_REQUEST_ID = REQUEST_ID_HEADER.lower()
Headers = list[tuple[str, str]]


class WholeFile:
    """A file that a route sends, which goes to the client from the disk (`wsgi.file_wrapper` of PEP 3333).

    What is sent as a stream waits in memory for clients that read slowly, however much it is.
    """

    def __init__(self, file: IO[bytes], block_size: int = 0) -> None:
        self.path = str(file.name)
        file.close()

    def __iter__(self) -> Iterator[bytes]:
        raise TypeError("a file is sent by its path")


@dataclass
class Answer:
    """What the application has answered: a `body`; `more` where it is too large to be sent as one; or a `file`."""

    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    more: Generator[bytes, None, None] | None = None
    file: str | None = None


class Gateway:
    """The RSGI application around a WSGI one, with `threads` requests at a time."""

    def __init__(
        self,
        app: Flask,
        fast_lane: FastLane,
        *,
        threads: int,
        max_waiting: int,
        max_streams: int,
        max_listening_pilots: int,
        max_body_bytes: int,
        max_upload_bytes: int,
        spool_dir: Path,
    ) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._most_taken = threads + max_waiting
        self._most_for_listeners = threads + max_waiting // 2  #: all of a process come at once when it has ended
        self._n_taken = 0  #: requests that have a thread or wait for one
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes
        self._spool_dir = spool_dir
        self._reports = Batches(fast_lane.judge)
        self._steps = Batches(fast_lane.take)
        self._figures = context_of(app).figures
        self._streams = Streams(context_of(app).engine, most=max_streams, most_pilots=max_listening_pilots)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_signal_handler(END_STREAMS, self._streams.close)

    async def __call__(self, scope: Any, protocol: Any) -> None:
        if scope.path == ALIVE and scope.method == "GET":  # this process runs, whatever its threads wait for
            protocol.response_str(200, _headers(_name(scope)), json_text(LIVE))
            return
        if scope.path == ORDERS_PATH and self._streams.is_full(ORDERS):  # without a thread and the database
            self._refuse(scope, protocol, NO_ROOM)
            return
        limit = self._max_upload_bytes if scope.path.endswith(UPLOAD_SUFFIXES) else self._max_body_bytes
        try:
            body, size = await _receive(scope, protocol, limit, self._spool_dir)
        except TimeoutError:
            protocol.response_str(408, [("connection", "close")], "the request did not arrive in time")
            return
        except OSError as error:
            self._refuse(scope, protocol, no_space(error), ("connection", "close"))
            return
        if scope.path == PATH and scope.method == METHOD and size <= MAX_BYTES:
            sent, begun_at = _sent(scope, body), time.monotonic()
            judged = await self._reports.result(sent)
            answered = await self._steps.result(judged) if isinstance(judged, Stepping) else judged
            if answered is not None:
                self._figures.request(PATH, METHOD, 200, time.monotonic() - begun_at)
                protocol.response_bytes(200, _headers(sent.request_id), answered)
                return
        with body:
            if self._n_taken >= (self._most_for_listeners if scope.path == ORDERS_PATH else self._most_taken):
                self._refuse(scope, protocol, Unavailable("the server has too much to do", hint="try again soon"))
                return
            loop, environment = asyncio.get_running_loop(), _environment(scope, body, size)
            self._n_taken += 1
            try:
                answer = await loop.run_in_executor(self._threads, self._run, environment)
            finally:
                self._n_taken -= 1
            if scope.method == "GET" and (wanted := environment.get(WANTED)) is not None:
                await self._stream(scope, protocol, wanted, answer)
                return
            if answer.file is not None:
                protocol.response_file(answer.status, answer.headers, answer.file)
                return
            if answer.more is None:
                protocol.response_bytes(answer.status, answer.headers, answer.body)
                return
            with closing(answer.more) as chunks:
                transport = protocol.response_stream(answer.status, answer.headers)
                while chunk := await loop.run_in_executor(self._threads, next, chunks, b""):
                    await transport.send_bytes(chunk)

    async def _stream(self, scope: Any, protocol: Any, wanted: Wanted, answer: Answer) -> None:
        """Send an answer that goes on as a stream of events."""
        if not self._streams.has_room(wanted.kind, wanted.reader):
            self._refuse(scope, protocol, NO_ROOM)
            return
        headers = [(name, value) for name, value in answer.headers if name != "content-length"]
        transport = protocol.response_stream(answer.status, headers)
        await self._streams.serve(wanted, answer.body.decode(), protocol, transport)

    def _run(self, environment: dict[str, Any]) -> Answer:
        answer = Answer()
        written: list[bytes] = []  # PEP 3333's old way to answer, which Flask does not use

        def start_response(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            answer.status, answer.headers = int(status[:3]), [(name.lower(), value) for name, value in headers]
            return written.append

        chunks: Iterable[bytes] = self._app(environment, start_response)
        if isinstance(chunks, WholeFile):
            answer.file = chunks.path
            return answer
        length = dict(answer.headers).get("content-length", "0")
        if int(length) > IN_MEMORY_BYTES:
            answer.more = _until_closed(chunks)
        else:
            answer.body = b"".join(_until_closed(chunks))
        return answer

    def _refuse(self, scope: Any, protocol: Any, error: BambooError, *more: tuple[str, str]) -> None:
        """Answer a request that does not get to the application."""
        self._figures.request("(gateway)", scope.method, error.status, 0.0, refusal=error.code)
        name = _name(scope)
        headers = [*_headers(name), *more]
        if scope.path == GET_JOB:
            protocol.response_str(200, headers, json_text(ASK_AGAIN))
            return
        headers += [(key.lower(), value) for key, value in when_again(error).items()]
        protocol.response_str(error.status, headers, json_text(refused(error, name)))


def _sent(scope: Any, body: IO[bytes]) -> Sent:
    headers, content = scope.headers, body.read()
    body.seek(0)
    return Sent(headers.get("authorization") or "", headers.get("origin") or "", _name(scope), content)


def _name(scope: Any) -> str:
    return request_id_by(scope.headers.get(_REQUEST_ID) or "")


def _headers(request_id: str) -> Headers:
    return [("content-type", JSON), (_REQUEST_ID, request_id)]


def _until_closed(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The chunks, after which the application is told that it is over."""
    try:
        yield from chunks
    finally:
        close = getattr(chunks, "close", None)
        if close:
            close()


async def _receive(scope: Any, protocol: Any, limit: int, spool_dir: Path) -> tuple[IO[bytes], int]:
    """The body and its size as the application shall see it, which refuses what is larger than the limit.

    Raises `TimeoutError` when the client falls silent.
    """
    told = scope.headers.get("content-length") or ""
    declared = int(told) if told.isdecimal() else 0
    if declared > limit:
        return BytesIO(), declared
    if scope.method in ("GET", "HEAD") and not declared:
        return BytesIO(), 0
    if 0 < declared <= SMALL_BYTES:
        async with asyncio.timeout(SILENCE_SECONDS):
            content = await protocol()
        return BytesIO(content), max(len(content), declared)
    body: Any = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(spool_dir))  # noqa: SIM115 - the caller closes it
    size = 0
    chunks = aiter(protocol)
    try:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), SILENCE_SECONDS)
            except StopAsyncIteration:
                break
            size += len(chunk)
            if size > limit:
                break
            body.write(chunk)
        body.seek(0)
    except OSError:  # silence is one of them
        with suppress(OSError):  # what could not be written cannot be written now either
            body.close()
        raise
    return body, max(size, declared)


def _environment(scope: Any, body: IO[bytes], size: int) -> dict[str, Any]:
    """The WSGI environment of a request (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    environment = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.file_wrapper": WholeFile,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if name == "transfer-encoding":  # the body is whole and its length known
            continue
        if "_" in name:  # WSGI could not tell it from the header with a hyphen there, which a front end may have set
            continue
        key = name.upper().replace("-", "_")
        environment[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    if size:
        environment["CONTENT_LENGTH"] = str(size)
    if scope.authority:
        environment["HTTP_HOST"] = scope.authority
    return environment
