"""What brokers say of queues, summed up by several processes at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.sql import queue_verdicts


def row(clock: ManualClock, queue: str, gate: str, n: int, jeditaskid: int = 1) -> dict[str, Any]:
    at = queue_verdicts.hour_of(clock())
    return {"queue": queue, "at": at, "gate": gate, "n": n, "jeditaskid": jeditaskid, "last_at": clock()}


def test_sums_of_many_processes_add_up(engine: sa.Engine, clock: ManualClock) -> None:
    """They add the same rows in other orders: nobody waits for another in a circle, and none is lost."""
    rows = [row(clock, f"Q{n}", gate, 1) for n in range(30) for gate in ("", "memory")]

    def add(turn: int) -> None:
        with engine.begin() as tx:
            queue_verdicts.add(tx, rows[turn:] + rows[:turn])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(24)))
    with engine.connect() as tx:
        found = queue_verdicts.of_queues(tx, [f"Q{n}" for n in range(30)], since=clock())
    assert [(one["gate"], one["n"]) for one in found] == [("", 720), ("memory", 720)]


def test_the_last_task_is_told_and_old_hours_go(engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        queue_verdicts.add(tx, [row(clock, "Q", "memory", 2, 7)])
    clock.advance(hours=5)
    with engine.begin() as tx:
        queue_verdicts.add(tx, [row(clock, "Q", "memory", 3, 8), row(clock, "OTHER", "memory", 9, 9)])
        (found,) = queue_verdicts.of_queues(tx, ["Q"], since=clock() - timedelta(hours=6))
        assert (found["n"], found["jeditaskid"], found["last_at"]) == (5, 8, clock())
        assert queue_verdicts.of_queues(tx, ["Q"], since=clock())[0]["n"] == 3
        assert queue_verdicts.forget(tx, before=clock() - timedelta(hours=1)) == 1
        assert queue_verdicts.of_queues(tx, ["Q"], since=clock() - timedelta(hours=6))[0]["n"] == 3


def test_the_database_sums_up(postgres_url: str, open_database: Callable[[str], sa.Engine], clock: ManualClock) -> None:
    """A site of 200 queues has a quarter of a million rows a day: a page reads one for each answer."""
    engine, read = open_database(postgres_url), []
    with engine.begin() as tx:
        for _ in range(5):
            queue_verdicts.add(tx, [row(clock, f"Q{n}", gate, 1) for n in range(30) for gate in ("", "memory")])
            clock.advance(hours=1)
    sa.event.listen(engine, "after_cursor_execute", lambda *given: read.append(given[1].rowcount))
    with engine.connect() as tx:
        found = queue_verdicts.of_queues(tx, [f"Q{n}" for n in range(30)], since=clock() - timedelta(hours=9))
    assert [one["n"] for one in found] == [150, 150]
    assert read == [2]
