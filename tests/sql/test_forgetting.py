"""Tasks that are long over go, with everything that was kept of them; what they made stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState, TaskState
from bamboo.sql import catalogue, forgetting, jobs, tasks
from bamboo.sql import tables as t
from bamboo.sql.forgetting import ForgottenPage


def over(world: World, **columns: Any) -> None:
    """End the task now, as if its jobs had been archived."""
    with world.engine.begin() as tx:
        now = world.clock()
        ended = {"status": TaskState.DONE, "state_changed_at": now, "modified_at": now, "jobs_archived_at": now}
        tasks.update_task(tx, world.jeditaskid, **{**ended, **columns})


def forget(world: World, *, limit: int = 100) -> ForgottenPage:
    with world.engine.begin() as tx:
        return forgetting.forget_tasks(tx, before=world.clock() - timedelta(days=10), limit=limit)


def rows(world: World) -> dict[str, int]:
    """What there is, of the tables that name a task."""
    with world.engine.connect() as tx:
        named = [table for table in t.metadata.sorted_tables if "jeditaskid" in table.c]
        return {table.name: n for table in named if (n := tx.scalar(sa.select(sa.func.count()).select_from(table)))}


def test_a_task_goes_with_all_that_was_kept_of_it(world: World, clock: ManualClock) -> None:
    with world.engine.begin() as tx:
        catalogue.ensure_dataset(tx, "user.alice.made", user_name="alice", now=clock())
    world.start(7)
    over(world)
    clock.advance(days=9)
    assert forget(world) == ForgottenPage(0, 0, False)
    clock.advance(days=2)
    assert forget(world, limit=4) == ForgottenPage(0, 4, True)
    assert forget(world, limit=4) == ForgottenPage(1, 3, False)
    assert rows(world) == {}
    with world.engine.connect() as tx:
        assert catalogue.has_dataset(tx, "user.alice.made")


def test_what_is_needed_stays(world: World, clock: ManualClock) -> None:
    """Tasks with jobs, tasks that are not over, and parents of those that stay."""
    world.start(2)
    held = world.generate(1)
    over(world)
    active = World(world.engine, clock).start(1)
    parent = World(world.engine, clock).start(1)
    over(parent)
    with world.engine.begin() as tx:
        tasks.update_task(tx, active.jeditaskid, parent_tid=parent.jeditaskid)
    clock.advance(days=100)
    assert forget(world) == ForgottenPage(0, 0, False)
    with world.engine.begin() as tx:
        jobs.move_jobs(tx, jobs.refs(tx, t.jobs.c.pandaid.in_(held)), JobState.CLOSED, actor="t", why="t", now=clock())
    assert forget(world).tasks == 0  # the job is over, and still there
    with world.engine.begin() as tx:
        tx.execute(sa.delete(t.jobs))
    assert forget(world).tasks == 1
    over(active)
    clock.advance(days=11)
    assert forget(world).tasks == 1
    assert forget(world).tasks == 1
    with world.engine.connect() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(t.tasks)) == 0
