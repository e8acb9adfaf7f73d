"""The report of a task: complete, and harmless whatever others have put into names and texts."""

from __future__ import annotations

import base64
import html.parser
import json
from typing import Any

import pytest

from bamboo.tests.client.client_harness import Bamboo, MakeRow, ScriptedServer, no, ok

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"{{ 7*7 }}\u202egnp.exe\x1b[31m"
CANARY = "canary-8c1d"
FILE = base64.b64encode(f"a file\nwith {CANARY}-in-it\n".encode()).decode()


class Page(html.parser.HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def scripted(server: ScriptedServer, row: dict[str, Any], text: str) -> None:
    """A server all of whose texts are of one kind."""
    error = {"kind": "run", "source": "exe", "code": 3, "diag": text, "count": 2, "example_job": 5, "who": "user"}
    job = {"PandaID": 5, "jediTaskID": 7, "computingSite": text, "node": text, "stdoutTail": f"{text}\n{text}"}
    line = {"part": "where", "name": text, "a": text, "b": None, "differs": True}
    event = {"when": "2026-01-01 00:00:00", "old": "ready", "new": text, "actor": text, "why": text}
    decision = {"when": None, "actor": text, "what": text, "why": text, "reasons": {text: text}}
    more = {"errors": [error], "events": [event], "decisions": [decision], "errorDialog": text, "userName": text}
    dataset = {"name": text, "type": "input", "status": text}
    server.on("task/get_detailed_info", ok({**row, "taskName": text, "datasets": [dataset], **more}))
    step = {"who": text, "passes": False, "says": text, "gates": []}
    server.on("task/why", ok({"subject": "x", "status": "y", "stopped_by": text, "steps": [step]}))
    server.on("task/contrasts", ok({"contrasts": [{"attribute": "node", "value": text, "says": text}]}))
    server.on("task/get_task_parameters", ok({"taskName": text, text: [text, {"value": text}]}))
    server.on("job/get_detailed_info", ok(job))
    server.on("job/compare", ok({"jobs": [job, {**job, "PandaID": 6}], "chosen": text, "lines": [line]}))
    server.on("creds/get_user_secrets", ok(json.dumps({"MINE": CANARY, "___file___:key": FILE})))
    server.on("system/is_alive", ok({"version": text}))


def test_hostile_names_do_nothing(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    scripted(server, row(), HOSTILE)
    content = bamboo("task", "report", 7, "-o", "-").out
    page = Page(content)
    assert page.tags.isdisjoint({"script", "img", "iframe", "object", "link", "form", "a"})
    assert page.attributes <= {
        *("lang", "charset", "name", "content", "http-equiv", "scope", "class", "style", "role", "aria-label")
    }
    assert "<script>alert(1)</script>" in page.text  # as text, and as it was written
    assert "{{ 7*7 }}" in page.text
    assert "\u202e" not in content and "\x1b" not in content
    assert "default-src 'none'" in content


@pytest.mark.parametrize(
    "text",
    [
        f"API_TOKEN={CANARY}",
        f"https://alice:{CANARY}@x.org/",
        f"--password%20{CANARY}",
        f"it says {CANARY}",
        f"with {CANARY}-in-it, {FILE}",
    ],
)
def test_secrets_stay_behind(server: ScriptedServer, bamboo: Bamboo, row: MakeRow, text: str) -> None:
    scripted(server, row(), text)
    content = bamboo("task", "report", 7, "-o", "-").out
    assert CANARY not in content
    assert content.count("(removed)") > 20


def test_the_token_of_the_caller_stays_behind(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    token = "c2VjcmV0.b2YgYWxpY2U.YXQgbGVhc3Q"
    scripted(server, row(), f"log: {token}")
    assert token not in bamboo("task", "report", 7, "-o", "-", BAMBOO_TOKEN=token).out


def test_what_the_server_does_not_tell_is_left_out(server: ScriptedServer, bamboo: Bamboo, row: MakeRow) -> None:
    scripted(server, row(), "x")
    for path in ("task/why", "task/contrasts", "job/compare", "job/get_detailed_info", "creds/get_user_secrets"):
        server.on(path, no("not for you", code="BAM-AUTH-002", status=403))
    ended = bamboo("task", "report", 7)
    assert (ended.code, ended.out) == (0, "task-7.html\n")
    server.on("task/why", no("out of order", code="BAM-001", status=500))
    assert bamboo("task", "report", 7).code == 1
    server.on("task/get_detailed_info", no("there is no task 7", code="BAM-FIND-001", status=404))
    assert bamboo("task", "report", 7).code == 3
