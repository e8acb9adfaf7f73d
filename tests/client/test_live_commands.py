"""What is followed live: streams that break off and go on, logs as they grow, the whole system on one screen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bamboo.tests.client.client_harness import Answer, Bamboo, MakeRow, OpenTerminal, Request, ScriptedServer, no, ok


def events(*told: tuple[str, str, Any]) -> Answer:
    """A stream that the server has closed."""
    text = "retry: 2000\n\n: still here\n\n"
    text += "".join(f"event: {name}\nid: {at}\ndata: {json.dumps(data)}\n\n" for name, at, data in told)
    return Answer(text, headers={"Content-Type": "text/event-stream; charset=utf-8"})


def output(at: str, text: str, stream: str = "stdout", missing: int = 0) -> tuple[str, str, Any]:
    return stream, at, {"text": text, "missing": missing}


END = ("end", "9.0.end", {"status": "finished"})


def test_a_log_is_followed_over_streams_that_break_off(server: ScriptedServer, bamboo: Bamboo) -> None:
    """It goes on from the last event that came; the server closes each stream after some minutes."""
    broken, lost = events(output("4.0", "one\n")), Answer("", cut=0)
    server.on("job/log", broken, lost, events(output("8.0", "two\n"), output("8.3", "oh\n", "stderr"), END))
    followed = bamboo("job", "logs", "-f", 5)
    assert (followed.code, followed.out) == (0, "one\ntwo\n")
    assert followed.err == "oh\njob 5 finished\n"
    assert [request.headers.get("Last-Event-ID") for request in server.asked("job/log")][-1] == "4.0"
    assert {request.query["job_id"] for request in server.asked("job/log")} == {"5"}


def test_what_is_missing_of_a_log_is_told(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("job/log", events(output("99.0", "the end\n", missing=91), END))
    followed = bamboo("job", "log", "--follow", 5)
    assert followed.out == "the end\n"
    assert "[91 bytes of stdout are not known any more]" in followed.err


def test_a_log_as_json_is_an_object_a_piece(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("job/log", events(output("4.0", "one\n"), END))
    assert bamboo("job", "logs", "-f", 5, "--json").json == {"stream": "stdout", "text": "one\n"}


def test_a_job_of_which_nothing_came_shows_what_there_is(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("job/log", Answer("", 204))
    server.on("job/log", events(END))
    server.on("job/get_detailed_info", ok({"PandaID": 5, "jobStatus": "failed", "stdoutTail": "from its report\n"}))
    assert "from its report" in bamboo("job", "logs", "-f", 5).out


def test_a_refusal_to_be_read_is_told(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("job/log", no("job 5 belongs to bob", code="BAM-AUTH-002", status=403))
    refused = bamboo("job", "logs", "-f", 5)
    assert refused.code == 4
    assert "job 5 belongs to bob" in refused.err


@pytest.mark.parametrize("more", [("--list",), ("--file", "x"), ("--tail", 3)])
def test_following_goes_with_no_other_choice(bamboo: Bamboo, more: tuple[object, ...]) -> None:
    assert bamboo("job", "log", 5, "-f", *more).code == 2


def test_a_log_cannot_drive_the_terminal(server: ScriptedServer, terminal: OpenTerminal) -> None:
    server.on("job/log", events(output("4.0", "a\x1b[2Jb\n"), END))
    _, seen = terminal("job", "logs", "-f", 5).end()
    assert "a[2Jb" in seen


def test_a_task_is_watched_on_its_stream(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()), ok(row(status="done", nFilesFinished=100)))
    looks = [("state", f"{done}.a", row(nFilesFinished=done)) for done in (10, 60)]
    server.on("task/events", events(*looks, END))
    watched = bamboo("task", "watch", 7)
    assert watched.code == 0
    states = [line.partition("task 7 ")[2].partition(",")[0] for line in watched.err.splitlines()]
    assert states[:3] == [f"running ({done} of 100 inputs done)" for done in (40, 10, 60)]
    assert "task 7 done (all 100 inputs)" in watched.out
    assert len(server.asked("task/get_detailed_info")) == 2


def test_a_task_that_goes_on_after_its_end_is_watched_on(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    """A command came in at that moment."""
    going, over = ok(row()), ok(row(status="done"))
    server.on("task/get_detailed_info", going, going, over)
    server.on("task/events", events(END), events(END))
    assert bamboo("task", "watch", 7).code == 0
    assert len(server.asked("task/events")) == 2


DASHBOARD = {
    "hours": 1,
    "tasks": [{"status": "running", "n": 2}, {"status": "done", "n": 40}],
    "jobs": {"running": 7},
    "running": {
        "queue": [{"name": "SITE_B", "n_jobs": 2}, {"name": "SITE_A", "n_jobs": 5}],
        "user_name": [{"name": "alice\x1b[2J", "n_jobs": 7}],
        "gshare": [{"name": "Test", "n_jobs": 7}],
    },
    "ended": {"finished": 115, "failed": 5},
    "causes": [{"cause": "pilot:1305", "n": 5, "meaning": "the payload ended with an error", "who": "user"}],
}


def test_the_system_at_a_glance_is_printed_once_where_nobody_looks(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("/", DASHBOARD)
    seen = bamboo("top")
    assert seen.code == 0
    lines = seen.out.splitlines()
    assert lines[0] == "last hour: 115 finished, 5 failed, 2.0 jobs/min"
    assert [line.split() for line in lines if line.startswith("SITE")] == [["SITE_A", "5"], ["SITE_B", "2"]]
    assert lines[-1] == "5 jobs: pilot:1305: the payload ended with an error [user must act]"
    assert bamboo("top", "--json").json == DASHBOARD


def test_nothing_at_a_glance(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("/", {})
    assert bamboo("top").out.splitlines()[0] == "last hour: no job has ended"


def test_the_screen_is_drawn_until_q(server: ScriptedServer, terminal: OpenTerminal) -> None:
    """And says so while the server is away."""

    def once(request: Request) -> Any:
        return DASHBOARD

    server.on("/", once, Answer("", cut=0))
    drawn = terminal("top", "--seconds", 1)
    drawn.read_until("SITE_A")
    drawn.read_until("no answer from")
    drawn.type("q")
    code, seen = drawn.end()
    assert code == 0
    assert "alice[2J" in seen and "pilot:1305" in seen
