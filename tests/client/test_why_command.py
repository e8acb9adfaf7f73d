"""`bamboo why` as users type it."""

from __future__ import annotations

import json
from typing import Any

from bamboo.tests.client.client_harness import Bamboo, ScriptedServer, no, ok

WHY: dict[str, Any] = {
    "subject": "task 7",
    "status": "pending",
    "stopped_by": "broker",
    "tried": [],
    "steps": [
        {"who": "inputs", "passes": True, "says": "all there", "gates": []},
        {
            "who": "broker",
            "passes": False,
            "says": "none of 2 queues fits",
            "gates": [{"gate": "memory", "in": 2, "out": 0, "example": "BIG", "change": "raise its maxrss"}],
        },
        {"who": "recorded: job_generator", "passes": True, "says": "no queue fits", "at": "2026-01-01T00:00:00+00:00"},
    ],
}


def test_the_chain_is_printed_with_who_stops_it_first(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("task/why", ok(WHY))
    lines = bamboo("why", 7).out.splitlines()
    assert lines[:2] == ["task 7", "broker stops it: none of 2 queues fits"]
    assert [line for line in lines if line.endswith((": passes", ": STOPS IT"))] == [
        "inputs: passes",
        "broker: STOPS IT",
    ]
    assert "memory   2    0  BIG      raise its maxrss" in lines
    assert "2026-01-01 00:00:00 UTC: no queue fits" in lines
    assert bamboo("why", "task:7", "--json").json == WHY
    assert bamboo("why", 7, "-q").out == "broker\n"


def test_a_number_that_is_no_task_is_a_job_and_a_word_is_a_queue(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("task/why", no("there is no task 7", code="BAM-FIND-001", status=404))
    server.on("job/why", ok(WHY | {"subject": "job 7"}))
    server.on("queue/why", ok(WHY | {"subject": "queue Q"}))
    assert bamboo("why", 7).out.startswith("job 7")
    assert bamboo("why", "Q").out.startswith("queue Q")
    assert bamboo("why", "queue:7").out.startswith("queue Q")
    assert bamboo("why", "task:7").code == 3
    assert bamboo("why", "job:x").code == 2


def test_changes_to_try_are_sent(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("task/why", ok(WHY | {"tried": ["memory=2000", "Q:releases=A,B"]}))
    ended = bamboo("why", 7, "--if", "memory=2000", "--if", "Q:releases=A,B")
    assert ended.out.startswith("task 7  if memory=2000, Q:releases=A,B")
    (call,) = server.asked("task/why")
    assert json.loads(call.query["changes"]) == ["memory=2000", "Q:releases=A,B"]
