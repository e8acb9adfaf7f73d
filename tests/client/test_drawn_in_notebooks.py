"""How objects of the Python API look in a notebook, whatever is in their names; and the plain texts beside that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bamboo.client import Client, JobInfo, Listing, connect
from bamboo.client.evidence import value_text
from bamboo.client.rows import read
from bamboo.tests.client.client_harness import MakeRow, ScriptedServer, ok

HOSTILE = "<script>alert(1)</script>\u202e{{ 7*7 }}"
JOB: dict[str, Any] = {"PandaID": 5, "jediTaskID": 7, "jobStatus": HOSTILE, "computingSite": HOSTILE, "node": HOSTILE}
LINE = {"part": "where", "name": HOSTILE, "a": HOSTILE, "b": 3, "differs": True}


@pytest.fixture
def client(server: ScriptedServer, row: MakeRow) -> Client:
    errors = [{"source": "exe", "code": 3, "diag": HOSTILE, "count": 2, "example_job": 5}]
    told = row(taskName=HOSTILE, errorDialog=HOSTILE, errors=errors, nFilesFailed=2)
    server.on("task/get_detailed_info", ok(told))
    server.on("task/get_tasks_detailed_info_since", ok([told]), ok([]))
    server.on("job/get_detailed_info", ok({**JOB, "files": [{"lfn": HOSTILE, "type": "input"}]}))
    server.on("job/compare", ok({"jobs": [JOB, {**JOB, "PandaID": 6}], "chosen": HOSTILE, "lines": [LINE]}))
    server.on("queue/list", ok([{"nickname": HOSTILE}]))
    return connect(server.url, user="alice")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda client: client.task(7), ["task 7", 'value="42" max="100"', "exe 3"]),
        (lambda client: client.task(7).info, ["task 7", "40 of 100 inputs done, 2 failed"]),
        (lambda client: client.job(5), ["job 5", "node"]),
        (lambda client: client.compare(5), ["jobs 5 and 6", "job 6"]),
        (lambda client: client.tasks(), ["1 in all", "CREATED (UTC)"]),
        (lambda client: client.queues(), ["1 in all"]),
        (lambda client: Listing([client.job(5)]), ["1 in all", "ATTEMPT"]),
        (lambda client: Listing([HOSTILE]), ["1 in all"]),
    ],
    ids=["task", "info", "job", "comparison", "tasks", "queues", "jobs", "texts"],
)
def test_objects_are_drawn_and_their_names_do_nothing(
    client: Client, ask: Callable[[Client], Any], words: list[str]
) -> None:
    content = ask(client)._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content and "<script" not in content
    assert "\u202e" not in content and "{{ 7*7 }}" in content
    assert "style" not in content and "src=" not in content and "href" not in content  # as dark or light as the page
    assert [word for word in words if word not in content] == []


def test_long_and_empty_listings() -> None:
    jobs = Listing(read(JobInfo, {"PandaID": n}) for n in range(200))
    assert "200 in all, of which 100 are shown" in jobs._repr_html_()
    assert jobs._repr_html_().count("<tr>") == 101
    assert "0 in all" in Listing()._repr_html_()


def test_watching_elsewhere_is_plain_text(server: ScriptedServer, row: MakeRow) -> None:
    server.on("task/get_detailed_info", ok(row()), ok(row(status="done", nFilesFinished=100)))
    script = f"import bamboo.client; print(bamboo.client.connect({server.url!r}, 'alice').task(7).watch(60).status)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "done\n"
    assert [line.partition(" ")[2] for line in ended.stderr.splitlines()] == ["task 7 done (all 100 inputs)"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", ""),
        (0, "B", "0 B"),
        (2048, "kB", "2.1 MB"),
        (4000, "MB", "4000 MB"),
        (7200.4, "s", "2 h 0 min"),
        (0.123456789, "kB/s", "0.123457 kB/s"),
        (True, "", "yes"),
        (["a", "b", "c", "d", "e"], "", "a, b, c and 2 others"),
        ([], "", ""),
    ],
)
def test_values_with_their_units(value: Any, unit: str, text: str) -> None:
    assert value_text(value, unit) == text
