"""Claiming in the order of shares: whose turn it is, then priority, in one statement that locks no job in vain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.sql import claims


def claim(world: World, *shares: str, limit: int = 9, **wanted: Any) -> list[int]:
    """The ids of jobs that a pilot gets when the shares are in this order."""
    now = world.clock()
    with world.engine.begin() as tx:
        asked = claims.Claim(queue="Q", shares=shares, limit=limit, **wanted)
        taken = claims.claim(tx, asked, lease_until=now + timedelta(minutes=30), now=now)
    return [row.pandaid for row in taken]


def test_the_share_whose_turn_it_is_goes_first_and_in_it_priority(world: World) -> None:
    world.start(9)
    mc = world.generate(2, gshare="mc", current_priority=900)
    (low,) = world.generate(1, gshare="data", current_priority=10)
    (high,) = world.generate(1, gshare="data", current_priority=20)
    (other,) = world.generate(1, gshare="who", current_priority=999)
    assert claim(world, "empty", "data", "mc", limit=1) == [high]
    assert sorted(claim(world, "empty", "data", "mc", limit=2)) == sorted([low, mc[0]])
    assert claim(world, "data", "mc", limit=1) == [mc[1]]
    assert claim(world, "data", "mc") == [other]
    assert claim(world, "data", "mc") == []


def test_a_share_whose_jobs_do_not_fit_leaves_the_turn_to_the_next(world: World) -> None:
    world.start(9)
    world.generate(2, gshare="data", min_ram_count_mb=4000)
    (small,) = world.generate(1, gshare="mc", min_ram_count_mb=1000)
    assert claim(world, "data", "mc", memory_mb=2000) == [small]


def test_without_shares_priority_alone_counts(world: World) -> None:
    world.start(3)
    (low,) = world.generate(1, gshare="data", current_priority=1)
    (high,) = world.generate(1, gshare="mc", current_priority=2)
    assert claim(world, limit=1) == [high]
    assert claim(world) == [low]


def test_pilots_at_once_get_each_job_once_and_all_jobs(world: World, at_once: Callable[..., Any]) -> None:
    world.start(60)
    ids = [*world.generate(20, gshare="data"), *world.generate(20, gshare="mc"), *world.generate(20, gshare="who")]

    def pilot(number: int) -> list[int]:
        mine: list[int] = []
        while more := claim(world, "data", "mc", limit=3, pilot_id=f"p{number}"):
            mine += more
        return mine

    taken = [pandaid for mine in at_once(6, pilot) for pandaid in mine]
    assert sorted(taken) == ids


@pytest.fixture
def postgres(postgres_url: str, open_database: Callable[[str], sa.Engine], clock: ManualClock) -> World:
    return World(open_database(postgres_url), clock)


def test_a_claim_locks_only_what_it_takes(postgres: World) -> None:
    """A job that is locked in vain would be passed over by a pilot that could have had it."""
    (data,) = postgres.start(4).generate(1, gshare="data")
    mc = postgres.generate(2, gshare="mc")
    now = postgres.clock()
    with postgres.engine.begin() as slow:
        (taken,) = claims.claim(slow, claims.Claim(queue="Q", shares=("data", "mc")), lease_until=now, now=now)
        assert taken.pandaid == data
        assert claim(postgres, "data", "mc") == mc
