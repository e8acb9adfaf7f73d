"""Log lines carry what they are about, and say it so that machines can read it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest

from bamboo.core import logs
from bamboo.core.service import run_round

log = logging.getLogger("bamboo.test")


@pytest.fixture
def lines() -> Iterator[Any]:
    """The lines that were written, as JSON."""
    sink = StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(logs.JsonFormatter())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    logs.forget()
    yield lambda: [json.loads(line) for line in sink.getvalue().splitlines()]
    logs.forget()
    log.removeHandler(handler)


def test_what_a_thread_is_about_is_in_its_lines(lines: Any) -> None:
    logs.about(request_id="r1", task=7, job=None)
    log.info("first", extra={"event": "x"})
    with logs.while_about(task=8, job=9):
        log.info("second")
        log.info("third", extra={"task": 10})
    log.info("fourth")
    thread = threading.Thread(target=lambda: log.info("elsewhere"))
    thread.start()
    thread.join()
    logs.forget()
    log.info("last")
    found = [{key: line[key] for key in ("request_id", "task", "job", "event") if key in line} for line in lines()]
    assert found == [
        {"request_id": "r1", "task": 7, "event": "x"},
        {"request_id": "r1", "task": 8, "job": 9},
        {"request_id": "r1", "task": 10, "job": 9},
        {"request_id": "r1", "task": 7},
        {},
        {},
    ]


@dataclass
class Done:
    n: int = 0


class Speaking:
    name = "speaker"

    def run_once(self) -> Done:
        log.info("in a round")
        return Done(1)


def test_lines_of_a_round_name_the_service(lines: Any) -> None:
    assert run_round(Speaking())
    log.info("between rounds")
    assert [line.get("service") for line in lines()] == ["speaker", None]


def test_text_is_one_line_with_the_data_behind_it() -> None:
    logs.about(task=7)
    record = logging.makeLogRecord({"msg": "two\nlines", "levelname": "INFO", "name": "bamboo.x", "job": 8})
    text = logs.TextFormatter().format(record)
    logs.forget()
    assert text.endswith(" INFO bamboo.x: two\\nlines (task=7 job=8)")
