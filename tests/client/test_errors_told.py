"""How errors are told, and the exit code of each."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

from bamboo.tests.client.client_harness import Answer, Bamboo, MakeRow, ScriptedServer, Start, no, ok, poll

SHOW = ("task", "show", 7)


@pytest.mark.parametrize(
    ("http", "status", "code"),
    [
        (200, 404, 3),
        (404, None, 3),
        (200, 403, 4),
        (403, None, 4),
        (401, None, 5),
        (200, 401, 5),
        (503, None, 6),
        (429, None, 6),
        (507, None, 6),
        (200, 409, 7),
        (409, None, 7),
        (200, 422, 8),
        (400, None, 8),
        (413, None, 8),
        (500, None, 1),
        (200, None, 8),
    ],
)
def test_the_status_decides_the_exit_code(
    server: ScriptedServer, bamboo: Bamboo, http: int, status: int | None, code: int
) -> None:
    said = no("no way", **({"status": status} if status else {}))
    server.on("task/get_detailed_info", Answer(said, http, {"Retry-After": "0"}))
    ended = bamboo(*SHOW)
    assert ended.code == code
    assert "error: no way" in ended.err
    assert ended.out == ""


def test_every_fault_is_told_and_the_request_id_comes_last(server: ScriptedServer, bamboo: Bamboo) -> None:
    faults = [
        {"where": "task_parameters.nFilesPerJob", "what": "it is -1", "do": "give a positive number"},
        {"where": "task_parameters.site", "what": "there is no 'NOWHERE'", "do": "see bamboo queue list"},
    ]
    more = {"code": "BAM-TASK-003", "errors": faults, "hint": "see the docs", "request_id": "r-17"}
    server.on("task/get_detailed_info", no("bad task (see the docs)", **more))
    lines = bamboo(*SHOW).err.splitlines()
    assert lines == [
        "error: bad task",
        "  - task_parameters.nFilesPerJob: it is -1 (give a positive number)",
        "  - task_parameters.site: there is no 'NOWHERE' (see bamboo queue list)",
        "  hint: see the docs",
        "  code: BAM-TASK-003",
        "  request id: r-17",
    ]


def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    server: ScriptedServer, bamboo: Bamboo, row: MakeRow
) -> None:
    busy = Answer(no("busy"), 503, {"Retry-After": "0"})
    server.on("task/get_detailed_info", busy, busy, ok(row()))
    assert bamboo(*SHOW, "-q").out == "7\n"
    assert len(server.requests) == 3


def test_whoever_asks_too_often_waits_and_goes_on(
    server: ScriptedServer, bamboo: Bamboo, row: MakeRow, workdir: Path
) -> None:
    """Uploads too: they are refused before they are looked at."""
    often = Answer(no("alice asks too often"), 429, {"Retry-After": "0"})
    server.on("file_server/validate_cache_file", ok(None, "NOTFOUND"))
    server.on("file_server/upload_cache_file", often, often, ok("stored"))
    server.on("task/submit", often, ok(7, "submitted"))
    (workdir / "payload.sh").write_text("true")
    assert bamboo("run", "--exec", "true").code == 0
    sent = [request.raw for request in server.asked("file_server/upload_cache_file")]
    assert len(sent) == 3 and len(set(sent)) == 1 and len(sent[0]) > 100
    assert len(server.asked("task/submit")) == 2


def test_an_upload_is_not_repeated_once_it_has_left(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("file_server/validate_cache_file", ok(None, "NOTFOUND"))
    server.on("file_server/upload_cache_file", Answer(no("full"), 503, {"Retry-After": "0"}))
    assert bamboo("run", "--exec", "true").code == 6
    assert len(server.asked("file_server/upload_cache_file")) == 1
    assert not server.asked("task/submit")


def test_nobody_there(bamboo: Bamboo) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ended = bamboo(*SHOW, "--url", url)
    assert ended.code == 6
    assert f"no answer from {url}: Connection refused" in ended.err
    assert "BAMBOO_URL" in ended.err


@pytest.mark.parametrize("content", ["<html>It works!</html>", "[1, 2]", "", b"\xff\xfe", '{"status": "ok"}'])
def test_something_else_answers(server: ScriptedServer, bamboo: Bamboo, content: str | bytes) -> None:
    server.on("task/get_detailed_info", Answer(content))
    ended = bamboo(*SHOW)
    assert ended.code == 6
    assert "is this the address of a Bamboo server?" in ended.err


@pytest.mark.parametrize("cut", [0, 10])
def test_a_connection_that_breaks(server: ScriptedServer, bamboo: Bamboo, row: MakeRow, cut: int) -> None:
    server.on("task/get_detailed_info", Answer(ok(row()), cut=cut))
    ended = bamboo(*SHOW)
    assert ended.code == 6
    assert f"no answer from {server.url}" in ended.err


def test_an_error_page_cannot_drive_the_terminal(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("task/get_detailed_info", Answer("\x1b[2Joops", 500))
    err = bamboo(*SHOW).err
    assert "oops" in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("tsk",),
        ("task", "kil", "7"),
        ("task", "show"),
        ("task", "show", "x"),
        ("run",),
        ("task", "show", "7", "--nope"),
    ],
)
def test_misuse(bamboo: Bamboo, words: tuple[str, ...]) -> None:
    assert bamboo(*words).code == 2


def test_a_mistyped_command_is_guessed(bamboo: Bamboo) -> None:
    assert "Did you mean 'kill'?" in bamboo("task", "kil", "7").err


@pytest.mark.parametrize("url", ["ftp://x", "localhost:25080", "http://"])
def test_an_impossible_address(bamboo: Bamboo, url: str) -> None:
    ended = bamboo(*SHOW, "--url", url)
    assert ended.code == 8
    assert "http://host:25080" in ended.err


def test_an_interrupt_has_its_own_code(server: ScriptedServer, start: Start, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()))
    process = start(*SHOW, "--watch", "0.1")
    poll(lambda: len(server.requests) >= 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
