"""/metrics: one sum over all processes, what the database says, and nobody's name."""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from patience import eventually
from prometheus_client.parser import text_string_to_metric_families
from served import Served, served

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.server import database_figures
from bamboo.server.app import create_app
from bamboo.server.figures import Figures, Sums
from bamboo.sql import leases
from bamboo.sql.engine import open_engine

LIST = "/api/v1/queue/list"


def read(text: str) -> dict[tuple[str, ...], float]:
    """The figures by name and the values of their labels, in this order."""
    labels = ("route", "method", "status", "le", "queue", "name", "code")
    return {
        (sample.name, *(sample.labels[label] for label in labels if label in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures(app: Flask) -> dict[tuple[str, ...], float]:
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain")
    return read(answer.text)


def test_requests_are_counted_by_route(app: Flask, api: Any, world: Any) -> None:
    for _ in range(3):
        api.get("queue/list")
    api.get("task/get_status", task_id=1)
    app.test_client().open("/nowhere/at/all", method="BREW")
    found = figures(app)
    assert found["bamboo_requests_total", LIST, "GET", "200"] == 3
    assert found["bamboo_requests_total", "(none)", "OTHER", "404"] == 1
    assert found["bamboo_refusals_total", "BAM-FIND-001"] == 1
    assert found["bamboo_request_seconds_count", LIST, "GET"] == 3
    assert found["bamboo_request_seconds_bucket", LIST, "GET", "+Inf"] == 3
    assert found["bamboo_request_seconds_sum", LIST, "GET"] > 0
    assert not any("nowhere" in word for key in found for word in key)


def test_what_the_database_says(app: Flask, world: Any, clock: ManualClock, engine: sa.Engine) -> None:
    world.jobs(3)
    with engine.begin() as tx:
        until = clock() + timedelta(minutes=1)
        assert leases.acquire(tx, "daemon/watcher", "somebody", until=until, now=clock())
        held = leases.acquire(tx, "daemon/closer", "somebody", until=until, now=clock())
        assert held
        leases.release(tx, held)
    found = figures(app)
    assert found["bamboo_database_up",] == 1
    assert found["bamboo_jobs", "activated", "LOCAL"] == 3
    assert found["bamboo_tasks", "registered"] == 1
    assert found["bamboo_lease_held", "daemon/watcher"] == 1
    assert found["bamboo_lease_held", "daemon/closer"] == 0
    assert found["bamboo_lease_last_run_timestamp_seconds", "daemon/closer"] == clock().timestamp()


def test_the_database_is_not_asked_for_each_who_asks(app: Flask, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_figures, "FRESH_SECONDS", 3600)
    world.jobs(1)
    assert figures(app)["bamboo_jobs", "activated", "LOCAL"] == 1
    world.jobs(1)
    assert figures(app)["bamboo_jobs", "activated", "LOCAL"] == 1
    monkeypatch.setattr(database_figures, "FRESH_SECONDS", 0)
    assert figures(app)["bamboo_jobs", "activated", "LOCAL"] == 2


def test_a_database_that_is_away_is_a_figure(settings: Settings, clock: ManualClock) -> None:
    engine = open_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    found = figures(create_app(settings, engine, clock))
    assert found["bamboo_database_up",] == 0
    assert not any(key[0] == "bamboo_jobs" for key in found)
    engine.dispose()


def test_no_figure_names_a_user(app: Flask, world: Any) -> None:
    """F30: not the one who asks, nor the owners of tasks and jobs."""
    task = world.task("user.canary.t/", user="canary")
    world.jobs(1, task=task, user_name="canary")
    client = app.test_client()
    for path in (LIST, f"/api/v1/task/get_status?task_id={task}", "/canary", f"/tasks/?username=canary&x={task}"):
        client.get(path, headers={"X-Bamboo-User": "canary"})
    text = client.get("/metrics").text
    assert "bamboo_requests_total" in text and "canary" not in text and str(task) not in text


def n_lists(server: Served) -> float:
    return read(server.get("/metrics").body.decode()).get(("bamboo_requests_total", LIST, "GET", "200"), 0)


def test_all_processes_are_summed_up_and_the_dead_too(sqlite_url: str, tmp_path: Path) -> None:
    with served(sqlite_url, tmp_path / "cache", workers=3) as server:
        for _ in range(30):
            assert server.get(LIST).status == 200
        eventually(lambda: n_lists(server) == 30, "all requests to be told")
        assert {n_lists(server) for _ in range(20)} == {30}
        before = server.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(server.workers() - before) == 3, "new workers")
        eventually(server.is_ready, "the server")
        assert n_lists(server) == 30
        assert server.get(LIST).status == 200
        eventually(lambda: n_lists(server) == 31, "one more")


def test_no_room_for_figures_stops_nobody(tmp_path: Path) -> None:
    """F15: they are kept in memory, and told, until there is room."""
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    own = Figures()
    own.share(blocked / "folder")
    own.request("/x", "GET", 200, 0.1)
    assert own.sums().requests == {("/x", "GET", 200): 1}
    blocked.unlink()
    blocked.joinpath("folder").mkdir(parents=True)
    other = Figures()
    other.share(blocked / "folder")
    other.request("/x", "GET", 200, 0.2)
    other.write()
    assert own.sums().requests == {("/x", "GET", 200): 2}
    assert [path.suffix for path in blocked.joinpath("folder").iterdir()] == [".json", ".json"]


def test_a_file_that_is_none_of_ours_is_passed_over(tmp_path: Path) -> None:
    own = Figures()
    own.share(tmp_path)
    own.request("/x", "GET", 200, 0.1)
    (tmp_path / "broken.json").write_text('{"requests": [[1')
    assert own.sums().requests == {("/x", "GET", 200): 1}


def test_threads_lose_no_count() -> None:
    own = Figures()

    def count() -> None:
        for _ in range(2000):
            own.request("/x", "GET", 200, 0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sums = own.sums()
    assert sums.requests["/x", "GET", 200] == 8000
    assert sum(sums.seconds["/x", "GET"][:-1]) == 8000
    assert Sums.parse(sums.text()) == sums and json.loads(sums.text())
