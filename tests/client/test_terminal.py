"""What differs when somebody sits at a terminal: tables, questions, bars, colours."""

from __future__ import annotations

import os
import re

from bamboo.tests.client.client_harness import MakeRow, OpenTerminal, ScriptedServer, ok


def test_killing_asks_first(server: ScriptedServer, terminal: OpenTerminal, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()))
    server.on("task/kill", ok(0, "will be killed"))
    asked = terminal("task", "kill", 7)
    asked.read_until("Go on? [y/N]")
    asked.type("n\n")
    code, seen = asked.end()
    assert code == 130
    assert "nothing was done" in seen
    assert not server.asked("task/kill")
    asked = terminal("task", "kill", 7)
    asked.read_until("Go on? [y/N]")
    asked.type("y\n")
    code, seen = asked.end()
    assert code == 0
    assert "will be killed" in seen
    assert len(server.asked("task/kill")) == 1


def test_yes_is_not_asked(server: ScriptedServer, terminal: OpenTerminal, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()))
    server.on("task/kill", ok(0, "will be killed"))
    code, seen = terminal("task", "kill", 7, "--yes").end()
    assert code == 0
    assert "Go on?" not in seen


def test_tables_are_drawn_and_text_cannot_draw(server: ScriptedServer, terminal: OpenTerminal, row: MakeRow) -> None:
    server.on("task/get_tasks_detailed_info_since", ok([row(taskName="[red]x[/red]\x1b]0;owned\x07")]), ok([]))
    code, seen = terminal("task", "list").end()
    assert code == 0
    assert "─" in seen
    assert "[red]x[/red]]0;owned" in seen
    assert "\x07" not in seen


def test_no_color_means_none(server: ScriptedServer, terminal: OpenTerminal, row: MakeRow) -> None:
    server.on("task/get_tasks_detailed_info_since", ok([row()]), ok([]))
    server.on("task/get_detailed_info", ok(row(decisions=[{"actor": "broker", "why": "free"}])))
    for words in (("task", "list"), ("task", "show", 7)):
        _, seen = terminal(*words, NO_COLOR="1").end()
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", seen)


def test_watching_draws_a_bar_by_inputs(server: ScriptedServer, terminal: OpenTerminal, row: MakeRow) -> None:
    looks = [row(nFilesFinished=done) for done in (0, 50)] + [row(status="done", nFilesFinished=100)]
    server.on("task/get_detailed_info", *map(ok, looks))
    code, seen = terminal("task", "watch", 7).end()
    assert code == 0
    assert "━" in seen
    assert "task 7 done (all 100 inputs)" in seen


def test_ctrl_c_on_a_bar_leaves_the_task_running(server: ScriptedServer, terminal: OpenTerminal, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()))
    watched = terminal("task", "watch", 7)
    watched.read_until("running (40 of 100 inputs done)")
    os.killpg(watched.process.pid, 2)
    code, seen = watched.end()
    assert code == 130
    assert "left task 7 running" in seen
    assert not server.asked("task/kill")


def test_logs_are_cleaned_for_a_terminal(server: ScriptedServer, terminal: OpenTerminal) -> None:
    job = {"PandaID": 77, "jobStatus": "running", "stdoutTail": "one\n\x1b[2Jtwo\x07"}
    server.on("job/get_detailed_info", ok(job))
    _, seen = terminal("job", "log", 77).end()
    assert "one\r\n[2Jtwo" in seen
    assert "\x07" not in seen
