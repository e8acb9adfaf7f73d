"""`bamboo task submit FILE`: what is read, what is sent, and what is refused before that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bamboo.tests.client.client_harness import Bamboo, MakeRow, ScriptedServer, ok

PARAMETERS = {"taskName": "user.alice.x/", "vo": "bamboo"}


def written(folder: Path, content: Any) -> Path:
    path = folder / "task.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "words", "parent"),
    [
        (PARAMETERS, (), None),
        (PARAMETERS, ("--parentTaskID", 7), 7),
        ({"task_parameters": PARAMETERS, "parent_tid": 8}, (), 8),
        ({"task_parameters": PARAMETERS, "parent_tid": 8}, ("--parentTaskID", 7), 7),
    ],
)
def test_task_parameters_are_submitted(
    server: ScriptedServer, bamboo: Bamboo, tmp_path: Path, content: Any, words: tuple[Any, ...], parent: int | None
) -> None:
    server.on("task/submit", ok(10000001, "succeeded. new jediTaskID=10000001"))
    ended = bamboo("task", "submit", written(tmp_path, content), *words)
    assert (ended.code, ended.out) == (0, "task 10000001 submitted as user.alice.x/\n"), ended.err
    (asked,) = server.asked("task/submit")
    assert asked.body == {"task_parameters": PARAMETERS, "parent_tid": parent}


def test_a_submitted_task_is_watched(server: ScriptedServer, bamboo: Bamboo, tmp_path: Path, row: MakeRow) -> None:
    server.on("task/submit", ok(7, "succeeded. new jediTaskID=7"))
    server.on("task/get_detailed_info", ok(row()), ok(row(status="done")))
    ended = bamboo("task", "submit", written(tmp_path, PARAMETERS), "--watch")
    assert (ended.code, ended.out) == (0, "task 7 done (all 100 inputs)\n")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "is no JSON"),
        ([1], "is no object"),
        ({"task_parameters": 3, "parent_tid": "x", "more": 1}, "'x' is no id of a task"),
    ],
)
def test_what_is_no_request_is_told(
    server: ScriptedServer, bamboo: Bamboo, tmp_path: Path, content: Any, fault: str
) -> None:
    ended = bamboo("task", "submit", written(tmp_path, content))
    assert ended.code != 0 and fault in ended.err
    assert not server.asked("task/submit")
