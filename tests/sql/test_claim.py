"""Claiming: the right jobs in the right order, each to one pilot, at a cost that does not grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.sql import claims, jobs


def claim(world: World, **wanted: Any) -> list[int]:
    """The ids of jobs that a pilot gets."""
    now = world.clock()
    with world.engine.begin() as tx:
        taken = claims.claim(
            tx, claims.Claim(**{"queue": "Q", "limit": 9, **wanted}), lease_until=now + timedelta(minutes=30), now=now
        )
    return [row.pandaid for row in taken]


def test_the_highest_priority_goes_first_then_the_oldest(world: World) -> None:
    world.start(5)
    low, other_low = world.generate(2, current_priority=10)
    high, other_high = world.generate(2, current_priority=900)
    (middle,) = world.generate(1, current_priority=500)
    assert claim(world, limit=1) == [high]
    assert claim(world, limit=3) == [other_high, middle, low]
    assert claim(world) == [other_low]
    assert claim(world) == []


@pytest.mark.parametrize(
    ("columns", "fits", "does_not"),
    [
        ({"queue": "OTHER"}, {"queue": "OTHER"}, {}),
        ({"prod_source_label": "managed"}, {"labels": ("user", "managed")}, {"labels": ("user", "test")}),
        ({"min_ram_count_mb": 2000}, {"memory_mb": 2000}, {"memory_mb": 1999}),
        ({"max_disk_count_mb": 50}, {"disk_mb": 50}, {"disk_mb": 49}),
        ({"max_walltime_seconds": 600}, {"remaining_seconds": 600}, {"remaining_seconds": 599}),
        ({"resource_type": "MCORE"}, {"resource_type": "MCORE"}, {"resource_type": "SCORE"}),
        ({"working_group": "higgs"}, {"working_group": "higgs"}, {"working_group": "top"}),
    ],
)
def test_a_pilot_gets_what_fits(
    world: World, columns: dict[str, Any], fits: dict[str, Any], does_not: dict[str, Any]
) -> None:
    ids = world.start(1).generate(1, **columns)
    assert claim(world, **does_not) == []
    assert claim(world, **fits) == ids


def test_only_activated_jobs_are_given(world: World) -> None:
    world.start(3).generate(1, JobState.DEFINED)
    world.generate(1, JobState.THROTTLED)
    assert claim(world) == []


def test_a_claimed_job_has_its_lease_and_its_holder(world: World, clock: ManualClock) -> None:
    world.start(1).generate(1)
    (pandaid,) = claim(world, key="k1", pilot_id="p", node="n", scheduler_id="s", worker_id="w")
    row = world.jobs()[pandaid]
    assert (row.status, row.lease_until, row.heartbeat_at) == ("sent", clock() + timedelta(minutes=30), clock())
    assert (row.claim_key, row.pilot_id, row.node, row.scheduler_id, row.worker_id) == ("k1", "p", "n", "s", "w")


def test_a_repeated_request_finds_what_it_has_taken(world: World) -> None:
    world.start(3).generate(3)
    first = claim(world, key="k1", limit=2)
    claim(world, key="k2")
    with world.engine.connect() as tx:
        again = claims.claimed_before(tx, "Q", "k1")
        assert [row.pandaid for row in again] == first
        assert claims.claimed_before(tx, "OTHER", "k1") == []
    world.move([jobs.ref(again[0])], JobState.STARTING)
    with world.engine.connect() as tx:
        assert [row.pandaid for row in claims.claimed_before(tx, "Q", "k1")] == first[1:]


def test_eight_pilots_at_once_get_each_job_once(world: World, at_once: Callable[..., Any]) -> None:
    ids = world.start(80).generate(80)

    def pilot(number: int) -> list[int]:
        mine: list[int] = []
        while more := claim(world, limit=3, pilot_id=f"p{number}"):
            mine += more
        return mine

    taken = [pandaid for mine in at_once(8, pilot) for pandaid in mine]
    assert sorted(taken) == ids


def test_a_pilot_does_not_wait_for_another_ones_claim(postgres: World) -> None:
    first, second = postgres.start(2).generate(2)
    wanted, now = claims.Claim(queue="Q"), postgres.clock()
    with postgres.engine.begin() as slow:
        (taken,) = claims.claim(slow, wanted, lease_until=now, now=now)
        with postgres.engine.begin() as quick:
            quick.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            (other,) = claims.claim(quick, wanted, lease_until=now, now=now)
    assert (taken.pandaid, other.pandaid) == (first, second)


@pytest.fixture
def postgres(postgres_url: str, open_database: Callable[[str], sa.Engine], clock: ManualClock) -> World:
    return World(open_database(postgres_url), clock)
