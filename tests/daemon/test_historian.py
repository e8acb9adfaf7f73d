"""The historian: every job that ended is in one step, with its cause, and nobody counts it twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.daemon.chores.historian import Historian, Told
from bamboo.daemon.context import Context
from bamboo.sql import history
from bamboo.sql import tables as t


@pytest.fixture
def end(world: Any, clock: ManualClock) -> Any:
    """Ends jobs now, after an hour on two cores, with error columns if there are any."""

    def _end(ids: list[int], status: JobState, **errors: Any) -> None:
        now = clock()
        values = {"status": status, "modified_at": now, "ended_at": now, "started_at": now - timedelta(hours=1)}
        with world.engine.begin() as tx:
            tx.execute(
                sa.update(t.jobs)
                .where(t.jobs.c.pandaid.in_(ids))
                .values(**values, lease_until=None, core_count=2, cpu_consumption_seconds=30, **errors)
            )

    return _end


def told(world: Any, *by: str) -> dict[tuple[Any, ...], int]:
    with world.engine.connect() as tx:
        rows = history.endings(tx, *by, since=world.clock() - timedelta(days=100))
        return {tuple(row[: len(by)]): int(row.n_jobs) for row in rows}


def test_jobs_are_counted_where_they_ended(world: Any, context: Context, clock: ManualClock, end: Any) -> None:
    world.start(8)
    ids = world.generate(6, status=JobState.ACTIVATED)
    end(ids[:2], JobState.FINISHED, trans_exit_code=0)
    end(ids[2:3], JobState.FAILED, pilot_error_code=1305, trans_exit_code=3)
    assert Historian(context).run_once() == Told(steps=1, ended=3, sampled=True)
    clock.advance(minutes=25)
    end(ids[3:4], JobState.FAILED, exe_error_code=65)
    assert Historian(context).run_once() == Told(steps=2, ended=4, sampled=True)
    assert told(world, "status", "cause") == {
        ("finished", ""): 2,
        ("failed", "pilot:1305"): 1,
        ("failed", "exe:65"): 1,
    }
    with world.engine.connect() as tx:
        (row,) = history.endings(tx, since=clock() - timedelta(days=1))
        assert (row.core_seconds, row.cpu_seconds) == (pytest.approx(4 * 7200, abs=4), 120)
        samples = history.samples(tx, "at", "status", since=clock() - timedelta(days=1))
    assert [(one.status, one.n_jobs) for one in samples] == [("activated", 3), ("activated", 2)]


def test_a_job_committed_late_is_counted_all_the_same(
    world: Any, context: Context, clock: ManualClock, end: Any
) -> None:
    """The step before is counted again until a while after its end."""
    world.start(3)
    ids = world.generate(2, status=JobState.ACTIVATED)
    clock.advance(minutes=9)
    end(ids[:1], JobState.FINISHED)
    late = clock()
    clock.advance(minutes=2)
    Historian(context).run_once()
    end(ids[1:], JobState.FINISHED)
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == ids[1]).values(modified_at=late))
    Historian(context).run_once()
    assert told(world, "at") == {(history.step_of(late),): 2}


def test_rounds_without_work_do_little_and_old_steps_go(
    world: Any, context: Context, clock: ManualClock, end: Any
) -> None:
    world.start(2)
    end(world.generate(1, status=JobState.ACTIVATED), JobState.FINISHED)
    Historian(context).run_once()
    clock.advance(days=30)
    assert Historian(context).run_once() == Told(steps=1, ended=1, sampled=True)
    clock.advance(days=70)
    last = Historian(context).run_once()
    assert (last.steps, last.sampled, last.forgotten > 0) == (0, True, True)
    assert told(world, "status") == {}
