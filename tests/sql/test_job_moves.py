"""The one way to move jobs: who may, who is too late, and what is written about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.errors import IllegalTransition, NotFound, Stale
from bamboo.core.states import JOBS, LEASED, JobState
from bamboo.sql import job_queries, jobs
from bamboo.sql import tables as t


def test_an_illegal_step_is_a_bug_and_moves_nothing(world: World) -> None:
    (job,) = world.start(1).run(1)
    with pytest.raises(IllegalTransition, match="from running to activated"):
        world.move([job], JobState.ACTIVATED)
    assert world.jobs()[job.pandaid].status == "running"


def test_a_lost_race_moves_nothing_and_says_so(world: World, clock: ManualClock) -> None:
    won, lost = world.start(2).run(2)
    world.move([lost], JobState.HOLDING)
    assert [job.pandaid for job in world.move([won, lost], JobState.HOLDING)] == [won.pandaid]
    with world.engine.begin() as tx, pytest.raises(Stale, match=f"job {lost.pandaid} is no longer attempt 1"):
        jobs.move_job(tx, lost, JobState.HOLDING, actor="test", why="test", now=clock())
    with world.engine.connect() as tx:
        assert len(job_queries.events_of(tx, lost.pandaid)) == 5  # the losers have left no line


def test_the_fence_is_state_and_attempt(world: World) -> None:
    (job,) = world.start(1).run(1)
    assert world.move([job._replace(attempt_nr=2)], JobState.HOLDING) == []
    assert world.move([job._replace(status=JobState.STARTING)], JobState.HOLDING) == []
    assert world.move([job._replace(pandaid=job.pandaid + 1)], JobState.HOLDING) == []
    assert world.move([job], JobState.HOLDING) == [job._replace(status=JobState.HOLDING)]


def test_each_step_leaves_a_line(world: World, clock: ManualClock) -> None:
    world.start(1).generate(1)
    taken = world.claim(1)
    clock.advance(minutes=3)
    world.move(taken, JobState.STARTING, JobState.RUNNING)
    with world.engine.connect() as tx:
        lines = job_queries.events_of(tx, taken[0].pandaid)
    assert [(line.old_status, line.new_status, line.actor) for line in lines] == [
        (None, "activated", "test"),
        ("activated", "sent", "p"),
        ("sent", "starting", "test"),
        ("starting", "running", "test"),
    ]
    assert lines[1].why == "claimed on n"
    assert [line.at for line in lines] == [clock() - timedelta(minutes=3)] * 2 + [clock()] * 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("to", [state for state in JobState if JOBS.allows(JobState.SENT, state)])
def test_a_lease_goes_with_the_states_that_have_one(world: World, to: JobState) -> None:
    world.start(1).generate(1)
    (moved,) = world.move(world.claim(1), to)
    assert (world.jobs()[moved.pandaid].lease_until is not None) == (to in LEASED)


def test_a_new_attempt_shuts_out_the_former_holder(world: World, clock: ManualClock) -> None:
    world.start(1).generate(1)
    (held,) = world.claim(1)
    (again,) = world.move([held], JobState.ACTIVATED, new_attempt=True, node=None)
    assert again == held._replace(attempt_nr=2, status=JobState.ACTIVATED)
    (taken,) = world.claim(1)
    assert taken.attempt_nr == 2
    with world.engine.begin() as tx:
        assert not jobs.renew(tx, held, lease_until=clock() + timedelta(hours=9), now=clock())
        assert not jobs.note(tx, held, now=clock(), substatus="mine")
    assert world.move([held], JobState.RUNNING) == []
    assert world.jobs()[held.pandaid].substatus is None


def test_more_jobs_than_one_statement_can_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.batches, "__defaults__", (7,))
    ids = world.start(30).generate(30)
    moved = world.move(world.claim(30), JobState.RUNNING)
    assert sorted(job.pandaid for job in moved) == ids
    with world.engine.connect() as tx:
        assert tx.scalar(sa.select(sa.func.count()).where(t.job_events.c.new_status == "running")) == 30


def test_a_heartbeat_renews_the_lease_of_its_holder(world: World, clock: ManualClock) -> None:
    (job,) = world.start(1).run(1)
    clock.advance(minutes=20)
    until = clock() + timedelta(minutes=30)
    with world.engine.begin() as tx:
        assert jobs.renew(tx, job, lease_until=until, now=clock(), max_rss_kb=5)
    row = world.jobs()[job.pandaid]
    assert (row.lease_until, row.heartbeat_at, row.max_rss_kb, row.status) == (until, clock(), 5, "running")


def test_overdue_jobs_are_those_whose_lease_has_run_out(world: World, clock: ManualClock) -> None:
    quiet, talking, over = world.start(4).run(3)
    world.generate(1)
    world.move([over], JobState.HOLDING)
    clock.advance(minutes=20)
    with world.engine.begin() as tx:
        jobs.renew(tx, talking, lease_until=clock() + timedelta(minutes=30), now=clock())
    clock.advance(minutes=11)
    with world.engine.begin() as tx:
        assert jobs.refs(tx, *jobs.overdue(clock()), limit=10) == [quiet]


def test_a_command_reaches_the_pilots_that_hold_jobs(world: World, clock: ManualClock) -> None:
    held = world.start(3).run(2)
    (queued,) = world.generate(1)
    waiting = jobs.JobRef(queued, 1, JobState.ACTIVATED)
    with world.engine.begin() as tx:
        assert jobs.order(tx, [*held, waiting], "tobekilled", now=clock()) == 2
    told = {pandaid for pandaid, row in world.jobs().items() if row.command_to_pilot == "tobekilled"}
    assert told == {job.pandaid for job in held}


def test_a_job_that_is_not_there(world: World) -> None:
    with world.engine.connect() as tx, pytest.raises(NotFound, match="there is no job 7"):
        jobs.get_job(tx, 7)
