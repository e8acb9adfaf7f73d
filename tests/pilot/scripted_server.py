"""A server that plays the parts of Bamboo's that a pilot sees, with faults on demand."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from patience import PATIENCE_SECONDS

QUEUE = "TEST_QUEUE"


@dataclass
class Call:
    """One request that arrived."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float


@dataclass
class Bell:
    """What pilots hear that listen for orders: the tests set `status`, `text` and `n_cut`, and call `ring`."""

    status: int = 404
    text: str = ""  #: an answer in place of a stream
    n_rings: int = 0  #: so far, on each stream
    n_cut: int = 0  #: the first so many streams are cut off
    asked: list[Call] = field(default_factory=list)
    hold: threading.Event | None = None  #: nothing is answered before
    n_left: int = 0  #: streams that pilots have closed

    def ring(self) -> None:
        self.n_rings += 1


@dataclass
class Script:
    """What the server says. `on_update` may change an answer: it gets the report and gives overrides."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    queue: dict[str, Any] = field(default_factory=dict)
    storages: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    on_update: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda report: None
    lose: Callable[[Call], bool] = lambda call: False  #: requests that are processed, but whose answer is cut off
    refuse_next: int = 0  #: requests answered with 503
    token: str = ""  #: of the pilot; where it is set, other tokens are answered with 401
    forbidden: bool = False  #: everything is answered with 403
    away: threading.Event = field(default_factory=threading.Event)  #: while set, every request hangs or is cut
    silent: threading.Event = field(default_factory=threading.Event)  #: while set, requests get no answer
    stored: dict[str, bytes] = field(default_factory=dict)
    bell: Bell = field(default_factory=Bell)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pilots that are killed cut connections: nothing to tell."""


class ScriptedServer:
    """Listens on a free port of localhost; keeps all calls."""

    def __init__(self, storage: Path, certificate: Path | None = None) -> None:
        self.storage = storage
        self.calls: list[Call] = []
        self.arrived = threading.Condition()
        self.asked = threading.Event()  #: a document was asked for
        self.script = Script(
            queue={"nickname": QUEUE, "panda_resource": QUEUE, "state": "ACTIVE", "status": "online"},
            storages={
                "DISK": {
                    "arprotocols": {
                        kind: [{"endpoint": "file://localhost", "path": f"{storage}/"}]
                        for kind in ("read_lan", "write_lan")
                    }
                }
            },
        )
        self.handed_out: dict[str, dict[str, Any]] = {}
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _QuietServer(("127.0.0.1", 0), handler)
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def updates(self, pandaid: int | None = None) -> list[dict[str, Any]]:
        """All job updates that were accepted or refused, in order."""
        with self.arrived:
            return [
                call.body
                for call in self.calls
                if call.path.endswith("/update_job") and pandaid in (None, call.body["job_id"])
            ]

    def states(self, pandaid: int | None = None) -> list[str]:
        """The states reported, repeated heartbeats once."""
        states: list[str] = []
        for report in self.updates(pandaid):
            if states[-1:] != [report["job_status"]]:
                states.append(report["job_status"])
        return states

    def final(self, pandaid: int | None = None) -> dict[str, Any]:
        """The one final report; fails when there is none, or more than one."""
        (report,) = [report for report in self.updates(pandaid) if report["job_status"] in ("finished", "failed")]
        return report

    def wait_for(self, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a condition on the calls is true; fails after `seconds`."""
        with self.arrived:
            assert self.arrived.wait_for(condition, seconds), f"not within {seconds} s; calls: {self.states()}"

    def acquire(self, call: Call) -> dict[str, Any]:
        key = call.headers.get("Idempotency-Key", "")
        if key not in self.handed_out:
            if not self.script.jobs:
                return {"success": False, "message": "No jobs in PanDA", "data": None}
            self.handed_out[key] = self.script.jobs.pop(0)
        return {"success": True, "message": "", "data": {"StatusCode": 0, "jobs": [self.handed_out[key]]}}

    def update(self, call: Call) -> dict[str, Any]:
        answer = {"success": True, "message": "", "data": {"StatusCode": 0, "command": "NULL"}}
        answer.update(self.script.on_update(call.body) or {})
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: ScriptedServer

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        script = self.owner.script
        self.owner.asked.set()
        while script.silent.is_set():
            time.sleep(0.05)
        if self.path.startswith("/api/v1/pilot/orders?"):
            self._ring(script.bell)
        elif self.path == f"/cache/schedconfig/{QUEUE}.all.json":
            self._json(200, script.queue)
        elif self.path == "/cache/ddmendpoints.json":
            self._json(200, script.storages)
        elif self.path in script.files:
            self._bytes(200, script.files[self.path])
        else:
            self._json(404, {"message": "no such file"})

    def _ring(self, bell: Bell) -> None:
        """Be a stream of orders until one of both ends has enough."""
        bell.asked.append(Call(self.path, {}, dict(self.headers), time.time()))
        number, n_heard = len(bell.asked), bell.n_rings
        if bell.hold is not None:
            bell.hold.wait(PATIENCE_SECONDS)
            return
        if self.owner.script.token and self.headers["Authorization"] != f"Bearer {self.owner.script.token}":
            self._json(401, {"message": "what token is this?"})
            return
        if bell.status != 200 or bell.text:
            self._bytes(bell.status, bell.text.encode(), {"Content-Type": "application/json"})
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"retry: 2000\n\n")
        while number > bell.n_cut:
            if select.select([self.connection], [], [], 0.02)[0]:
                bell.n_left += 1
                return
            for number_of_ring in range(n_heard, bell.n_rings):
                self.wfile.write(f"event: order\nid: 0.{number_of_ring:x}\ndata: {{}}\n\n".encode())
            n_heard = bell.n_rings

    def do_HEAD(self) -> None:
        stored = self.owner.script.stored.get(self.path)
        self.send_response(404 if stored is None else 200)
        self.send_header("Content-Length", str(len(stored or b"")))
        self.end_headers()

    def do_PUT(self) -> None:
        self.owner.script.stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._bytes(201, b"")

    def do_POST(self) -> None:
        script = self.owner.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        while script.silent.is_set():
            time.sleep(0.05)
        if script.away.is_set():
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        call = Call(self.path, body, dict(self.headers), time.time())
        with self.owner.arrived:
            self.owner.calls.append(call)
            if script.forbidden:
                self._json(403, {"message": "who are you?"})
                return
            if script.token and call.headers.get("Authorization") != f"Bearer {script.token}":
                self._json(401, {"message": "what token is this?"})
                return
            if script.refuse_next:
                script.refuse_next -= 1
                self._json(503, {"message": "too busy"}, {"Retry-After": "0"})
                return
            acquiring = self.path == "/api/v1/pilot/acquire_jobs"
            answer = self.owner.acquire(call) if acquiring else self.owner.update(call)
            self.owner.arrived.notify_all()
            if script.lose(call):
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
        self._json(200, answer)

    def _json(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._bytes(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _bytes(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)


def job(pandaid: int = 1, command: str = "true", **more: Any) -> dict[str, Any]:
    """A job that runs a shell command; a log is written when `logFile` is given."""
    return {
        "PandaID": pandaid,
        "taskID": 77,
        "attemptNr": 1,
        "prodSourceLabel": "user",
        "transformation": "bash",
        "jobPars": f"-c {json.dumps(command)}" if '"' not in command else command,
        "coreCount": 1,
        "leaseSeconds": 60,
        **more,
    }
