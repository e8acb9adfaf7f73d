"""The server as real processes: it starts on a free port, replaces its workers, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from served import served

from bamboo.core.clock import utc_now
from bamboo.sql import sandboxes

PROGRAM = Path(__file__).parent / "serving.py"


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Server:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.address = process.stdout.readline().strip()

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - our own http:// address
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def new_server(sqlite_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server that has its address; its workers may not have begun yet."""
    command = [sys.executable, str(PROGRAM), sqlite_url, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@pytest.fixture
def server(new_server: Server) -> Server:
    eventually(new_server.is_ready, "ready")
    return new_server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked(server: Server, number: int) -> None:
    workers = children(server.process.pid)
    assert len(workers) >= 2
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert not any(is_running(pid) for pid in workers)


def test_a_killed_worker_is_replaced(server: Server) -> None:
    before = children(server.process.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(children(server.process.pid)) - set(before)) >= 2, "new workers")
    eventually(server.is_ready, "ready again")


def test_workers_do_not_outlive_the_parent(server: Server) -> None:
    workers = children(server.process.pid)
    server.process.kill()
    server.process.wait(PATIENCE_SECONDS)
    eventually(lambda: not any(is_running(pid) for pid in workers), "workers are gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_that_are_only_starting_end_as_well(new_server: Server, number: int) -> None:
    """They have no handlers of their own yet, and must not keep those of the parent, which only take note."""
    eventually(lambda: len(children(new_server.process.pid)) == 2, "workers are there")
    workers = children(new_server.process.pid)
    new_server.process.send_signal(number)
    new_server.process.wait(PATIENCE_SECONDS)
    eventually(lambda: not any(is_running(pid) for pid in workers), "workers are gone")


def connect(server: Server, data: bytes) -> socket.socket:
    host, port = server.address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
    connection.sendall(data)
    return connection


POST = b"POST /api/v1/pilot/acquire_jobs HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"computing_element": "NOWHERE"}'


def test_clients_that_stop_in_the_middle_hold_nobody_up(server: Server) -> None:
    stuck = [connect(server, POST + b"Content-Length: 100\r\n\r\n{") for _ in range(30)]
    stuck += [connect(server, b"GET /livez HT") for _ in range(30)]
    begun = time.monotonic()
    assert all(server.is_ready() for _ in range(10))
    assert time.monotonic() - begun < 20
    for connection in stuck:
        connection.close()


@pytest.mark.parametrize(
    ("rest", "answer", "words"),
    [
        (b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY), b"200 OK", b"there is no queue NOWHERE"),
        (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), b"200 OK", b"NOWHERE"),
        (b"Content-Length: 99999999999\r\n\r\n{}", b"413", b"more bytes than are accepted"),
        (b"Content-Length: 0\r\n\r\n", b"400", b"no JSON"),
        (b"Content-Length: -5\r\n\r\n", b"400", b""),
    ],
)
def test_bodies_over_the_wire(server: Server, rest: bytes, answer: bytes, words: bytes) -> None:
    with connect(server, POST + b"Connection: close\r\n" + rest) as connection:
        told = b"".join(iter(lambda: connection.recv(65536), b""))
    assert told.startswith(b"HTTP/1.1 " + answer)
    assert words in told


def test_files_go_in_and_out(server: Server) -> None:
    """Larger than what is kept in memory: in over the disk, out in pieces."""
    content = os.urandom(5_000_000)
    boundary = b"----b"
    head = b'Content-Disposition: form-data; name="file"; filename="jobO.big.tar.gz"'
    body = b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n--" + boundary + b"--\r\n"
    request = urllib.request.Request(f"{server.address}/api/v1/file_server/upload_cache_file", data=body)  # noqa: S310 - our own address
    request.add_header("Content-Type", "multipart/form-data; boundary=" + boundary.decode())
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - our own address
        assert b'"success":true' in answer.read()
    with urllib.request.urlopen(f"{server.address}/cache/jobO.big.tar.gz", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - our own address
        assert answer.read() == content


def test_a_target_may_be_a_whole_address(server: Server) -> None:
    """Pilots up to 3.9 ask for their transformation through `http_proxy` (pilot protocol 18.12)."""
    host, port = server.address.removeprefix("http://").split(":")
    target = b"GET http://pandaserver-doma.cern.ch:25080/trf/user/runGen-00-00-02 HTTP/1.1"
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as line:
        line.sendall(target + b"\r\nHost: pandaserver-doma.cern.ch:25080\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200") and b"#!/usr/bin/env python3" in answer


def test_a_file_that_somebody_reads_slowly_is_not_kept_in_memory(
    database_url: str, engine: sa.Engine, tmp_path: Path
) -> None:
    """The second one has read it to its end, by when the server would have read it for the first one too."""
    name, n_bytes = "sources.slow.tar.gz", 96 << 20
    with engine.begin() as tx:
        sandboxes.insert(tx, name, user_name="a", size_bytes=n_bytes, checksum="0", now=utc_now())
    with served(database_url, tmp_path / "cache", workers=1) as running, socket.socket() as slow:
        (tmp_path / "cache" / name).touch()
        os.truncate(tmp_path / "cache" / name, n_bytes)
        assert running.get("/cache/none").status == 404
        (worker,) = running.workers()
        before = peak_bytes(worker)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        place = urlsplit(running.address)
        slow.connect((place.hostname, place.port))
        slow.sendall(f"GET /cache/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert slow.recv(12) == b"HTTP/1.1 200"
        whole = running.get(f"/cache/{name}", Range="bytes=0-")
        assert (whole.status, len(whole.body)) == (200, n_bytes)
        assert whole.headers["content-type"] == "application/octet-stream"
        assert peak_bytes(worker) - before < n_bytes / 3


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
