"""How often one user may ask (F32): the others and all pilots notice nothing of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.errors import TooMany
from bamboo.core.settings import Settings
from bamboo.server import rates
from bamboo.server.app import create_app
from bamboo.server.rates import Rates


class Seconds:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def n_allowed(some: Rates, user: str, tries: int) -> int:
    n = 0
    for _ in range(tries):
        try:
            some.ask(user)
        except TooMany:
            continue
        n += 1
    return n


def test_a_minutes_requests_may_come_at_once_and_then_as_many_as_the_rate() -> None:
    clock = Seconds()
    some = Rates(60, clock)
    assert n_allowed(some, "alice", 100) == 60
    with pytest.raises(TooMany) as caught:
        some.ask("alice")
    assert caught.value.seconds == pytest.approx(1)
    clock.now += 10.5
    assert n_allowed(some, "alice", 100) == 10
    clock.now += 3600
    assert n_allowed(some, "alice", 100) == 60
    assert n_allowed(some, "bob", 100) == 60


def test_none_is_no_limit() -> None:
    assert n_allowed(Rates(0, Seconds()), "alice", 10_000) == 10_000


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has been quiet is forgotten first, and nobody who has just asked, as long as there is room."""
    monkeypatch.setattr(rates, "MOST_USERS", 3)
    clock = Seconds()
    some = Rates(60, clock)
    for user in ("a", "b"):
        some.ask(user)
    clock.now += 60
    assert n_allowed(some, "c", 100) == 60
    some.ask("d")
    assert n_allowed(some, "c", 1) == 0
    for number in range(100):
        some.ask(f"user {number}")
        assert len(some._left) <= 3


def test_threads_together_get_no_more() -> None:
    some, counted = Rates(1000, Seconds()), []
    threads = [threading.Thread(target=lambda: counted.append(n_allowed(some, "alice", 500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counted) == 1000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    section = settings.server.model_copy(update={"requests_per_minute": 3})
    return settings.model_copy(update={"server": section})


def test_whoever_asks_too_often_is_told_when_to_come_again(app: Flask, api: Any, bob: Any, world: Any) -> None:
    for _ in range(3):
        assert api.get("queue/list")["success"]
    answer = app.test_client().get("/api/v1/queue/list", headers={"X-Bamboo-User": "alice"})
    assert (answer.status_code, answer.json["code"]) == (429, "BAM-RATE-001")
    assert 1 <= int(answer.headers["Retry-After"]) <= 20
    old = app.test_client().post("/server/panda/getStatus", data={"ids": "[1]"}, headers={"X-Bamboo-User": "alice"})
    assert old.status_code in (200, 429)
    again = app.test_client().post("/server/panda/killTask", data={"jediTaskID": 1}, headers={"X-Bamboo-User": "alice"})
    assert again.status_code == 429 and int(again.headers["Retry-After"]) >= 1
    assert bob.get("queue/list")["success"]


def test_pilots_have_no_limit(api: Any, world: Any, issuer: Issuer, engine: Any, clock: ManualClock) -> None:
    for _ in range(10):
        api.post("pilot/acquire_jobs", {"computing_element": "LOCAL"})
    guarded = create_app(Settings(server=issuer.section(requests_per_minute=3)), engine, clock).test_client()
    headers = {"Authorization": f"Bearer {issuer.token(groups=['/cms/pilots'])}", "Origin": "cms"}
    for _ in range(10):
        asked = guarded.get("/api/v1/job/get_status?job_ids=1", headers=headers)
        assert asked.status_code == 200, asked.text
    headers["Authorization"] = f"Bearer {issuer.token()}"
    statuses = [guarded.get("/api/v1/queue/list", headers=headers).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


def test_pages_for_everybody_have_no_limit(app: Flask) -> None:
    assert {app.test_client().get("/livez").status_code for _ in range(10)} == {200}
