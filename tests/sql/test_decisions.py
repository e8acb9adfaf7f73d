"""Decisions: kept with their reasons, and not once a round."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.sql import decisions


@pytest.fixture
def decide(engine: sa.Engine, clock: ManualClock) -> Callable[..., None]:
    def _decide(what: str, why: int = 0, actor: str = "job_generator", **about: Any) -> None:
        with engine.begin() as tx:
            decisions.record(tx, actor=actor, what=what, why={"n": why}, now=clock(), **about)

    return _decide


def kept(engine: sa.Engine, task: int) -> list[tuple[str, int, int]]:
    with engine.connect() as tx:
        return [(row.what, row.why["n"], row.repeated) for row in decisions.of_task(tx, task)]


def test_the_same_decision_again_is_counted(engine: sa.Engine, clock: ManualClock, decide: Callable[..., None]) -> None:
    decide("no queue fits", 1, jeditaskid=1)
    clock.advance(minutes=1)
    decide("no queue fits", 2, jeditaskid=1)
    decide("no queue fits", 3, jeditaskid=1)
    assert kept(engine, 1) == [("no queue fits", 3, 2)]
    with engine.connect() as tx:
        (row,) = decisions.of_task(tx, 1)
    assert (row.last_at - row.at).total_seconds() == 60


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("other", [{"what": "throttled"}, {"queue": "B"}, {"jeditaskid": 2}, {"actor": "task_broker"}])
def test_another_decision_is_entered(engine: sa.Engine, decide: Callable[..., None], other: dict[str, Any]) -> None:
    same = {"what": "jobs", "jeditaskid": 1, "queue": "A"}
    decide(**same)
    decide(**{**same, **other})
    assert len(kept(engine, 1)) + len(kept(engine, 2)) == 2


def test_a_change_of_mind_is_entered_each_time(engine: sa.Engine, decide: Callable[..., None]) -> None:
    for what in ("jobs", "throttled", "jobs"):
        decide(what, jeditaskid=1)
    assert [what for what, _, _ in kept(engine, 1)] == ["jobs", "throttled", "jobs"]


def test_long_words_are_the_same_too(engine: sa.Engine, decide: Callable[..., None]) -> None:
    decide("x" * 300, jeditaskid=1)
    decide("x" * 300, jeditaskid=1)
    assert kept(engine, 1) == [("x" * 255, 0, 1)]


def test_a_queue_has_one_decision_of_each_actor(engine: sa.Engine, clock: ManualClock) -> None:
    def _note(queue: str, number: int) -> None:
        with engine.begin() as tx:
            decisions.record_last(tx, actor="dispatcher", queue=queue, what="none", why={"n": number}, now=clock())

    for number in range(3):
        _note("A", number)
        _note("B", number + 10)
    with engine.connect() as tx:
        rows = {queue: decisions.of_queue(tx, queue, "dispatcher") for queue in ("A", "B", "C")}
        assert decisions.of_queue(tx, "A", "another") is None
    assert {queue: row and (row.why["n"], row.repeated) for queue, row in rows.items()} == {
        "A": (2, 2),
        "B": (12, 2),
        "C": None,
    }


def test_decisions_are_bounded(engine: sa.Engine, clock: ManualClock) -> None:
    """The newest of each task stay, and what is younger than a moment."""
    for task, n in ((1, 5), (2, 2)):
        for number in range(n):
            with engine.begin() as tx:
                decisions.record(tx, actor="a", what=f"w{number}", why={}, now=clock(), jeditaskid=task)
    with engine.begin() as tx:
        decisions.record_last(tx, actor="d", queue="OLD", what="none", why={}, now=clock() - timedelta(days=9))
        decisions.record_last(tx, actor="d", queue="NEW", what="none", why={}, now=clock())
    after, n_forgotten, pages = 0, 0, 0
    while after or not pages:
        with engine.begin() as tx:
            after, n = decisions.trim(tx, after=after, before=clock() - timedelta(days=1), keep=3, limit=2)
        n_forgotten, pages = n_forgotten + n, pages + 1
    with engine.connect() as tx:
        left = [[row.what for row in decisions.of_task(tx, task)] for task in (1, 2)]
        queues = [decisions.of_queue(tx, queue, "d") is not None for queue in ("OLD", "NEW")]
    assert (left, queues, n_forgotten) == ([["w4", "w3", "w2"], ["w1", "w0"]], [False, True], 3)
    assert pages > 3
