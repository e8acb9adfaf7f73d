"""New workers, and a new configuration, while clients ask on: nobody loses a request."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import eventually
from served import Asking, Reply, Served, served

from bamboo.client import connect

ALIVE = "/api/v1/system/is_alive"
BODY = b"[" + b" " * 1500 + b"]"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_are_replaced_without_a_lost_request(sqlite_url: str, tmp_path: Path, n_workers: int) -> None:
    """F36. Our client keeps its connection, and repeats what got no answer; others have a new connection each time.

    Of those, one may be closed without a word by the worker that has just accepted it and is told to end: nothing has
    been done then, and who asks again is answered.
    """
    with served(sqlite_url, tmp_path / "cache", workers=n_workers) as server:
        client = connect(server.address, user="alice")
        with Asking(lambda: server.get(ALIVE)) as asking, Asking(lambda: by_client(client), n_threads=2) as kept:
            for _ in range(2):
                before = server.workers()
                asking.more()
                server.process.send_signal(signal.SIGHUP)
                until_replaced(server, before)
                assert len(server.workers()) == n_workers
                asking.more()
                kept.more()
        assert {type(one) for one in asking.lost} <= {http.client.RemoteDisconnected}
        assert len(asking.lost) <= 2 * n_workers and asking.statuses() == {200}
        assert kept.lost == [] and kept.statuses() == {200}


def until_replaced(server: Served, before: set[int]) -> None:
    eventually(lambda: not before & server.workers(), "the workers of before to be gone")


def by_client(client: Any) -> Reply:
    client.transport.get("queue/list")
    return Reply(200, {}, b"")


def test_a_killed_worker_loses_only_what_it_worked_on(sqlite_url: str, tmp_path: Path) -> None:
    """F01. Who waits at its socket waits for the next one."""
    with served(sqlite_url, tmp_path / "cache", workers=1) as server:
        with Asking(lambda: server.get(ALIVE), n_threads=4) as asking:
            asking.more()
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: server.workers() - {worker}, "another worker")
            asking.more(50)
        assert len(asking.lost) <= 4
        assert asking.statuses() == {200}


@pytest.fixture
def configured(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[Served, Path, Callable[[], str]]]:
    """`bamboo server` with a cfg file: the server, the file, and what it wrote to its log."""
    config, told = tmp_path / "panda_server.cfg", tmp_path / "told"
    config.write_text(text(4000))
    command = [sys.executable, "-m", "bamboo", "server", "--config", str(config), "--db", sqlite_url, "--port", "0"]
    with (
        told.open("w") as sink,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, cwd=tmp_path) as process,
    ):
        try:
            assert process.stdout is not None
            server = Served(process, process.stdout.readline().strip().removeprefix("serving at "))
            eventually(server.is_ready, "the server")
            yield server, config, told.read_text
        finally:
            process.kill()


def text(max_body_bytes: int, **more: object) -> str:
    keys = {"max_body_bytes": max_body_bytes, "workers": 1, **more}
    return "[server]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def statuses(server: Served) -> set[int]:
    return {server.post("/api/v1/task/kill", BODY).status for _ in range(5)}


def test_a_configuration_is_taken_as_a_whole_or_not_at_all(
    configured: tuple[Served, Path, Callable[[], str]], tmp_path: Path
) -> None:
    server, config, told = configured
    assert statuses(server) == {200}
    wrong = (
        text(1024, prot=1),
        text(1024, token_authType="oidc"),
        text(1024, secrets_key="file:/nowhere/at/all"),
        text(1024) + f"[database]\nstatement_seconds = 30\nurl = sqlite:///{tmp_path}/other.db\n[jobgen]\nx = 1\n",
    )
    for number, given in enumerate(wrong, 1):
        config.write_text(given)
        before = server.workers()
        server.process.send_signal(signal.SIGHUP)
        until_replaced(server, before)
        assert told().count("the new configuration cannot be used") == number
        assert statuses(server) == {200}, given
    config.write_text(text(1024, port=1, workers=7))
    before = server.workers()
    server.process.send_signal(signal.SIGHUP)
    until_replaced(server, before)
    assert statuses(server) == {413}
    assert "changed only by a restart (keys=workers)" in told()
    assert len(server.workers()) == 1
