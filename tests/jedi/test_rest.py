"""An agent rests only while a round would find nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from patience import eventually

from bamboo.core.clock import ManualClock
from bamboo.jedi.agents import TaskCommando, TaskEnder, TaskRefiner, WatchDog
from bamboo.jedi.rest import Rest
from bamboo.jedi.task_agent import Round
from bamboo.sql import tasks
from bamboo.sql.changes import ChangeWatch
from bamboo.tests.jedi.rounds import Jedi, on_both_databases

pytestmark = on_both_databases


@pytest.fixture
def watch(jedi: Jedi) -> Iterator[ChangeWatch]:
    watching = ChangeWatch(jedi.engine)
    yield watching
    watching.close()


@pytest.fixture
def refiner(jedi: Jedi) -> TaskRefiner:
    return TaskRefiner(jedi.context)


def put_off(jedi: Jedi, **by: float) -> None:
    with jedi.engine.begin() as tx:
        tasks.update_task(tx, jedi.jeditaskid, next_round_at=jedi.clock() + timedelta(**by))


def test_it_rests_until_something_is_written(jedi: Jedi, refiner: TaskRefiner, watch: ChangeWatch) -> None:
    rest = Rest(refiner, watch, jedi.clock)
    assert not rest()
    eventually(rest, "the agent to rest")
    jedi.submit()
    assert not rest()
    assert refiner.run_once() == Round(done=1)


def test_it_does_not_sleep_over_a_task_that_was_put_off(
    jedi: Jedi, refiner: TaskRefiner, watch: ChangeWatch, clock: ManualClock
) -> None:
    jedi.submit()
    put_off(jedi, seconds=30)
    rest = Rest(refiner, watch, jedi.clock)
    eventually(lambda: refiner.run_once() == Round() and rest(), "the agent to rest")
    clock.advance(seconds=29)
    eventually(rest, "the agent to rest on")  # PostgreSQL may tell late of what was written before
    clock.advance(seconds=1)
    assert not rest()
    assert refiner.run_once() == Round(done=1)


def test_what_falls_due_right_after_the_round_is_not_overlooked(
    jedi: Jedi, refiner: TaskRefiner, watch: ChangeWatch, clock: ManualClock
) -> None:
    jedi.submit()
    put_off(jedi, seconds=0.1)
    rest = Rest(refiner, watch, jedi.clock)
    assert not rest()
    assert refiner.run_once() == Round()
    clock.advance(seconds=0.3)
    assert not rest()
    assert refiner.run_once() == Round(done=1)


def test_the_lease_of_an_agent_that_died_is_waited_for(jedi: Jedi, refiner: TaskRefiner) -> None:
    jedi.submit()
    since = jedi.clock()
    held = refiner._take(1)
    assert refiner.due_at(since) == held[0].lease_until
    assert TaskEnder(jedi.context).due_at(since) is None


def test_agents_that_hold_no_tasks_know_their_time_as_well(jedi: Jedi) -> None:
    since = jedi.clock()
    assert TaskCommando(jedi.context).due_at(since) is None
    dog = WatchDog(jedi.context)
    assert dog.due_at(since) is None
    dog.run_once()
    assert dog.due_at(since) == since + timedelta(seconds=dog.period_seconds)
