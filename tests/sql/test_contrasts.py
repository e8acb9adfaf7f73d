"""How the jobs of a task ended by what they have in common, live and archived."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.contrasts import Tally, contrasts
from bamboo.core.states import JobState, TaskState
from bamboo.sql import archive, tasks
from bamboo.sql import contrasts as contrasts_sql


def end(world: World, n: int, to: JobState, **columns: Any) -> None:
    """Have pilots run jobs to an end, at a node for instance."""
    held = world.move(world.claim(n), JobState.STARTING, JobState.RUNNING)
    world.book(world.move(held, JobState.HOLDING, started_at=world.clock(), **columns), to)


def test_jobs_are_counted_by_all_they_have_in_common(world: World, engine: sa.Engine, clock: ManualClock) -> None:
    world.start(12, max_attempt=1)
    world.generate(12, container_name="docker://a")
    end(world, 6, JobState.FINISHED, node="good", cpu_consumption_unit="s+EPYC")
    clock.advance(hours=2)
    end(world, 4, JobState.FAILED, node="bad", cpu_consumption_unit="s+Xeon")
    end(world, 2, JobState.FAILED, node="few")
    with engine.begin() as tx:
        found, whole = contrasts_sql.tallies(tx, world.jeditaskid)
    assert (whole.failed, whole.succeeded) == (6, 6)
    assert sorted(found, key=str) == [
        Tally("container", "docker://a", 6, 6),
        Tally("cpu", "Xeon", 4, 0),
        Tally("dataset", "user.alice.in", 6, 6),
        Tally("hour", f"{clock():%Y-%m-%d %H}:00", 6, 0),
        Tally("node", "bad", 4, 0),
        Tally("queue", "Q", 6, 6),
        Tally("resource_type", "SCORE", 6, 6),
        Tally("site", "Q", 6, 6),
        Tally("transformation", "run", 6, 6),
    ]
    (told,) = contrasts(found, all_failed=whole.failed, all_succeeded=whole.succeeded)
    assert told.attribute == "hour"


def test_a_file_that_fails_each_time(world: World, engine: sa.Engine) -> None:
    world.start(4, max_attempt=3)
    for _ in range(3):
        world.generate(1)
        end(world, 1, JobState.FAILED, node="n")
    with engine.begin() as tx:
        found, _ = contrasts_sql.tallies(tx, world.jeditaskid)
    assert Tally("input", "in.0", 3, 0) in found


def test_archived_jobs_count_too(world: World, engine: sa.Engine, clock: ManualClock) -> None:
    world.start(4, max_attempt=1)
    world.generate(4)
    end(world, 3, JobState.FAILED, node="n")
    with engine.begin() as tx:
        tasks.update_task(tx, world.jeditaskid, status=TaskState.DONE, state_changed_at=clock())
    clock.advance(hours=2)
    with engine.begin() as tx:
        before = contrasts_sql.tallies(tx, world.jeditaskid)
        moved = archive.archive_jobs(tx, before=clock() - timedelta(hours=1), now=clock(), limit=10)
        assert (moved.jobs, before[1].failed) == (3, 3)
        assert contrasts_sql.tallies(tx, world.jeditaskid) == before


def test_only_the_last_of_many_are_looked_at(world: World, engine: sa.Engine) -> None:
    world.start(6, max_attempt=1)
    for node in ("old", "new"):
        world.generate(3)
        end(world, 3, JobState.FAILED, node=node)
    with engine.begin() as tx:
        found, whole = contrasts_sql.tallies(tx, world.jeditaskid, most=4)
    assert whole.failed == 4
    assert {tally.value for tally in found if tally.attribute == "node"} == {"new"}


def test_a_task_without_ended_jobs(world: World, engine: sa.Engine) -> None:
    world.start(2)
    with engine.begin() as tx:
        assert contrasts_sql.tallies(tx, world.jeditaskid) == ([], Tally("all", "", 0, 0))
