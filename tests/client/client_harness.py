"""What the tests of the client room work with: a scripted server, and the real command line as a process."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from patience import PATIENCE_SECONDS

ROOT = """
from bamboo.client.cli import COMMANDS
from bamboo.client.cli.lazy import LazyGroup
LazyGroup("bamboo", lazy=COMMANDS).main(prog_name="bamboo")
"""


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Answer:
    """What the server answers: an object becomes JSON, bytes and text go as they are.

    With `cut` the connection breaks after so many bytes of the content; nothing is sent at all for 0.
    """

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None

    @property
    def raw(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        return (self.content if isinstance(self.content, str) else json.dumps(self.content)).encode()


def ok(data: Any = None, message: str = "", **more: Any) -> dict[str, Any]:
    """The envelope of a success."""
    return {"success": True, "message": message, "data": data, **more}


def no(message: str, **more: Any) -> dict[str, Any]:
    """The envelope of a refusal."""
    return {"success": False, "message": message, "data": None, **more}


class ScriptedServer:
    """Answers each path from its script: a list is used up down to its last answer, which stays."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Any]] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def on(self, path: str, *answers: Any) -> None:
        """Script a path below /api/v1/ (or one that begins with a slash). A callable gets the request."""
        self.scripts[path if path.startswith("/") else f"/api/v1/{path}"] = list(answers)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == f"/api/v1/{path}"]

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            script = self.scripts.get(request.path)
            if not script:
                return Answer(no(f"no such path {request.path}", code="BAM-FIND-001"), 404)
            answer = script.pop(0) if len(script) > 1 else script[0]
        if callable(answer):
            answer = answer(request)
        return answer if isinstance(answer, Answer) else Answer(answer)

    def handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), raw)
                answer = server.answer(request)
                if answer.cut == 0:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.raw)))
                self.end_headers()
                self.wfile.write(answer.raw[: answer.cut])
                self.close_connection = answer.cut is not None

            do_GET = do_POST = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        return Handler


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Bamboo(Protocol):
    """Runs `bamboo` with the given words to its end; keywords are environment variables."""

    def __call__(self, *words: object, stdin: str = "", **environ: str) -> Ended: ...


class Start(Protocol):
    """Starts `bamboo` with the given words and does not wait for it."""

    def __call__(self, *words: object, **environ: str) -> subprocess.Popen[str]: ...


class OpenTerminal(Protocol):
    """Starts `bamboo` on a terminal of its own."""

    def __call__(self, *words: object, **environ: str) -> Terminal: ...


class MakeRow(Protocol):
    """Makes a task as the server tells it."""

    def __call__(self, task_id: int = 7, status: str = "running", **more: Any) -> dict[str, Any]: ...


def task_row(task_id: int = 7, status: str = "running", **more: Any) -> dict[str, Any]:
    """A task as the server tells it."""
    return {
        "jediTaskID": task_id,
        "taskName": f"user.alice.t{task_id}/",
        "status": status,
        "superStatus": status,
        "userName": "alice",
        "creationDate": {"__datetime__": "2026-03-01T12:00:00+00:00"},
        "startTime": {"__datetime__": "2026-03-01T12:00:05+00:00"},
        "endTime": None,
        "nFiles": 100,
        "nFilesFinished": 40,
        "nFilesFailed": 0,
        "nFilesOnHold": 0,
        "errorDialog": None,
        "jobs": {"running": 3, "finished": 40},
        "datasets": [],
        "decisions": [],
        "errors": [],
        "events": [],
        **more,
    }


def poll(so: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is so, but not for ever."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Terminal:
    """A command on a terminal of its own, as wide as 120 columns."""

    def __init__(self, environ: dict[str, str], workdir: Path, words: tuple[object, ...]) -> None:
        self.master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", ROOT, *map(str, words)],
            cwd=workdir,
            env=environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, words: str = "", seconds: float = PATIENCE_SECONDS) -> str:
        """Read until `words` have come, or to the end; returns everything seen so far."""
        deadline = time.monotonic() + seconds
        while not words or words not in self.seen:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, f"waited in vain for {words!r}; saw {self.seen!r}"
            try:
                chunk = os.read(self.master, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                assert not words, f"ended without {words!r}; saw {self.seen!r}"
                break
            self.seen += chunk.decode()
        return self.seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> tuple[int, str]:
        seen = self.read_until()
        return self.process.wait(PATIENCE_SECONDS), seen
