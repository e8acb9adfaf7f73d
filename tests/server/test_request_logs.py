"""The lines of a request name the request, who made it, and the task or job that it is about."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from flask import Flask

from bamboo.core import logs


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    sink = StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(logs.JsonFormatter())
    handler.setLevel(logging.INFO)
    logger = logging.getLogger("bamboo")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in sink.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_changes_are_told_with_who_made_them(app: Flask, api: Any, world: Any, lines: Any) -> None:
    task = world.task()
    api.post("task/kill", {"task_id": task}, X_Request_Id="r1")
    api.get("task/get_status", task_id=task)
    (line,) = lines()
    assert (line["event"], line["request_id"], line["user"], line["task"]) == ("request", "r1", "alice", task)
    assert (line["path"], line["status"]) == ("/api/v1/task/kill", 200)


def test_refusals_of_pilots_name_job_and_attempt(api: Any, claim: Any, lines: Any) -> None:
    job = claim()
    report = {"job_id": job["PandaID"], "attempt_nr": 99, "job_status": "running"}
    assert not api.post("pilot/update_job", report)["success"]
    api.get("queue/list")
    (line,) = lines()
    assert (line["job"], line["attempt"], line["refusal"]) == (job["PandaID"], 99, "BAM-STATE-004")


def test_what_a_request_was_about_is_forgotten_with_it(app: Flask, api: Any, world: Any, lines: Any) -> None:
    api.post("task/kill", {"task_id": world.task()})
    logging.getLogger("bamboo.test").info("later")
    assert "task" in lines()[0]
    assert not {"task", "request_id"} & lines()[-1].keys()
