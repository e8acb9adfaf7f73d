"""Pages about the system itself: who is at work, what brokers say of queues; and how wrong questions are answered."""

from __future__ import annotations

import html
import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from bamboo.core.clock import ManualClock
from bamboo.core.service import Round
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.sql import decisions, leases, queue_verdicts, service_rounds
from bamboo.sql import tables as t

#: What Chromium says.
BROWSER = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
}


def enter(engine: sa.Engine, now: Any, service: str, host: str = "here", **more: Any) -> None:
    failures = more.pop("failures", 0)
    last = Round(**{"service": service, "seconds": 2.0, "period_seconds": 5.0, **more})
    with engine.begin() as tx:
        service_rounds.enter(tx, last, host, failures=failures, now=now)


def services(pages: FlaskClient) -> dict[tuple[str, str], Any]:
    found: Any = pages.get("/agents/?json").json
    return {(one["service"], one["host"]): one for one in found["services"]}


def test_an_agent_that_is_silent_is_late(pages: FlaskClient, engine: sa.Engine, clock: ManualClock) -> None:
    enter(engine, clock(), "jedi/task_refiner", worked=True)
    clock.advance(seconds=62)
    enter(engine, clock(), "jedi/job_generator")
    assert [one["lag_seconds"] for one in services(pages).values()] == [0, 0]
    clock.advance(seconds=30)
    found = services(pages)
    assert found["jedi/task_refiner", "here"]["lag_seconds"] == 25
    assert found["jedi/job_generator", "here"]["lag_seconds"] == 0
    text = pages.get("/agents/").text
    assert text.count("late by 25 s") == 1 and text.count("in time") == 1


def test_the_dashboard_says_who_is_late_or_fails(pages: FlaskClient, engine: sa.Engine, clock: ManualClock) -> None:
    """By those who told of a round last: a machine that is gone is none of it while others work."""
    enter(engine, clock(), "daemon/adder", "gone")
    enter(engine, clock(), "jedi/task_broker")
    clock.advance(minutes=3)
    enter(engine, clock(), "daemon/adder", "here")
    enter(engine, clock(), "daemon/watcher", error=ValueError("no"), failures=3)
    enter(engine, clock(), "daemon/closer", error=ValueError("no"), failures=1)
    found: Any = pages.get("/?json").json
    assert found["unwell"] == ["daemon/watcher", "jedi/task_broker"]
    assert "daemon/watcher, jedi/task_broker</p>" in pages.get("/").text


def test_a_chore_of_one_machine_at_a_time_is_late_with_all_of_them(
    pages: FlaskClient, engine: sa.Engine, clock: ManualClock
) -> None:
    with engine.begin() as tx:
        leases.acquire(tx, "daemon/watcher", "somebody", until=clock(), now=clock())
    for service in ("daemon/watcher", "daemon/adder"):
        enter(engine, clock(), service, "first")
    clock.advance(minutes=10)
    for service in ("daemon/watcher", "daemon/adder"):
        enter(engine, clock(), service, "second")
    late = {key: one["lag_seconds"] > 0 for key, one in services(pages).items()}
    assert late == {
        ("daemon/adder", "first"): True,
        ("daemon/adder", "second"): False,
        ("daemon/watcher", "first"): False,
        ("daemon/watcher", "second"): False,
    }


def test_why_a_chore_fails_is_for_administrators(
    pages: FlaskClient, app: Flask, engine: sa.Engine, clock: ManualClock
) -> None:
    enter(engine, clock(), "daemon/adder", error=ValueError("of <alice>"), failures=3)
    text = pages.get("/agents/").text
    assert "fails" in text and "3 times" in text and "ValueError: of &lt;alice&gt;" in text
    stranger = app.test_client().get("/agents/", environ_base={"REMOTE_ADDR": "192.0.2.1"}).text
    assert "3 times" in stranger and "alice" not in stranger


def test_what_brokers_say_of_a_queue_and_its_site(
    pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    task = world.task()
    for n, gate, hours in ((1, "memory", 30), (5, "memory", 2), (3, "", 1), (1, "memory", 0)):
        at = clock() - timedelta(hours=hours)
        row = {"queue": "LOCAL", "gate": gate, "n": n, "jeditaskid": task, "last_at": at}
        with engine.begin() as tx:
            queue_verdicts.add(tx, [{**row, "at": queue_verdicts.hour_of(at)}])
    for path in ("/queue/LOCAL/", "/site/LOCAL/"):
        found: Any = pages.get(f"{path}?json").json
        assert [(one["gate"], one["n"]) for one in found["verdicts"]] == [("memory", 6), ("", 3)]
        text = pages.get(path).text
        assert "it fits" in text and "rejected</span> memory" in text and "67 %" in text
        assert "no pilot" not in text


def test_decisions_taken_again_come_first(
    pages: FlaskClient, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    old, new = world.task(), world.task()
    for task in (old, new, old):
        clock.advance(minutes=1)
        with engine.begin() as tx:
            decisions.record(tx, actor="job_generator", what="no queue", why={}, now=clock(), jeditaskid=task)
    found: Any = pages.get("/decisions/?json").json
    assert [one["jeditaskid"] for one in found] == [old, new]


@pytest.mark.parametrize("path", ["/nowhere/", "/task/nonsense", "/wp-admin.php"])
def test_whoever_looks_with_a_browser_is_told_on_a_page(pages: FlaskClient, path: str) -> None:
    found = pages.get(path, headers=BROWSER)
    assert (found.status_code, found.mimetype) == (404, "text/html")
    assert "<h1>Not shown</h1>" in found.text and path in found.text and "Content-Security-Policy" in found.headers
    for headers in ({}, {"Accept": "application/json"}):
        assert pages.get(path, headers=headers).json["code"] == "BAM-HTTP-001"


def test_a_stranger_with_a_browser_hears_of_no_address_that_there_is_not(app: Flask) -> None:
    found = app.test_client().get("/nowhere/", headers=BROWSER, environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert (found.status_code, found.mimetype) == (401, "text/html")
    assert "bamboo web" in found.text and "Authorization" not in found.text


def test_the_api_answers_a_browser_as_all_others(pages: FlaskClient) -> None:
    assert pages.get("/api/v1/task/nonsense", headers=BROWSER).json["code"] == "BAM-HTTP-001"


def test_a_page_without_a_database_says_when_to_come_again(settings: Settings, clock: ManualClock) -> None:
    away = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    client = create_app(settings, away, clock).test_client()
    found = client.get("/tasks/", headers=BROWSER)
    assert (found.status_code, found.mimetype, found.headers["Retry-After"]) == (503, "text/html", "5")
    assert "the database does not answer" in found.text
    assert client.get("/tasks/?json").json["status"] == 503


def test_what_a_list_passes_over_is_told(pages: FlaskClient, world: Any) -> None:
    world.task()
    query = "/tasks/?user_name=alice&status=runing|fin*&days=3"
    told = ["there is no parameter 'user_name' here, and it was passed over: did you mean 'username'?"]
    told.append("there is no state 'runing': did you mean 'running'?")
    text = html.unescape(pages.get(query).text)
    assert all(one in text for one in told)
    assert json.loads(pages.get(f"{query}&json").headers["X-Bamboo-Notes"]) == told
    strange = pages.get("/jobs/", query_string={"json": "", "\r\n€": "x", "jobstatus": "gone"})
    assert len(json.loads(strange.headers["X-Bamboo-Notes"])) == 2
    assert "X-Bamboo-Notes" not in pages.get("/jobs/?json&hours=1&jobstatus=failed").headers
    many = pages.get("/jobs/?json&" + "&".join(f"x{n}=1" for n in range(2000))).headers["X-Bamboo-Notes"]
    assert len(many) < 4096 and json.loads(many)[-1] == "and 1995 more"


def test_a_site_shows_its_storages_as_a_table(pages: FlaskClient, world: Any, engine: sa.Engine) -> None:
    world.task()
    names = {"storage": "LOCAL_DATA", "site": "LOCAL", "endpoint": "https://here:1", "path": "/data", "attributes": {}}
    with engine.begin() as tx:
        tx.execute(sa.insert(t.storages).values(free_bytes=5 * 10**12, **names))
    text = pages.get("/site/LOCAL/").text
    assert "5 TB" in text and "https://here:1/data" in text and "arprotocols" not in text
