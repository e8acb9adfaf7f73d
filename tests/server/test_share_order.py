"""Pilots are served in the order of shares, between two counts of the jobs too, and the targets are reached."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.shares import Share
from bamboo.core.states import JobState
from bamboo.server.share_order import ORDER_SECONDS, ShareOrder
from bamboo.sql import claims, counts, jobs, shares
from bamboo.sql import tables as t

WORK = {"computing_element": "LOCAL"}


def set_shares(engine: sa.Engine, *tree: Share) -> None:
    with engine.begin() as tx:
        shares.set_shares(tx, tree)


def count(engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        counts.replace(tx, now=clock())


def given(engine: sa.Engine) -> Counter[str]:
    """The jobs that pilots have, by share."""
    with engine.connect() as tx:
        return Counter(tx.scalars(sa.select(t.jobs.c.gshare).where(t.jobs.c.status == JobState.SENT)))


def test_jobs_are_given_by_share_between_two_counts_too(
    api: Any, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """Were the counts all that the server knows, one share would get everything until the next."""
    set_shares(engine, Share("data", None, 75), Share("mc", None, 25))
    world.jobs(30, gshare="mc", current_priority=900)
    world.jobs(30, gshare="data")
    count(engine, clock)
    for _ in range(20):
        assert api.post("pilot/acquire_jobs", WORK)["success"]
    assert given(engine) == {"data": 15, "mc": 5}


def test_without_shares_priority_counts(api: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    world.jobs(5, gshare="data")
    world.jobs(5, gshare="mc", current_priority=2000)
    count(engine, clock)
    for _ in range(5):
        api.post("pilot/acquire_jobs", WORK)
    assert given(engine) == {"mc": 5}


@pytest.fixture
def ask(engine: sa.Engine, clock: ManualClock) -> Callable[[ShareOrder], list[str]]:
    """Has a pilot ask a server process; gives the shares of the jobs it gets."""

    def _ask(order: ShareOrder) -> list[str]:
        wanted = claims.Claim(queue="LOCAL", shares=order("LOCAL"))
        with engine.begin() as tx:
            taken = claims.claim(tx, wanted, lease_until=clock() + timedelta(hours=1), now=clock())
        order.note(taken, clock())
        return [job.gshare for job in taken]

    return _ask


def test_what_was_counted_is_not_counted_twice(
    world: Any, engine: sa.Engine, clock: ManualClock, ask: Callable[..., list[str]]
) -> None:
    set_shares(engine, Share("a", None, 50), Share("b", None, 50))
    world.jobs(9, gshare="a")
    world.jobs(9, gshare="b")
    count(engine, clock)
    order = ShareOrder(engine, clock)
    assert [ask(order), ask(order), ask(order)] == [["a"], ["b"], ["a"]]
    clock.advance(seconds=ORDER_SECONDS.default)
    count(engine, clock)  # a has 2 and b 1, and nothing more
    assert [ask(order), ask(order)] == [["b"], ["a"]]


def test_edited_shares_are_seen_after_some_seconds(
    world: Any, engine: sa.Engine, clock: ManualClock, ask: Callable[..., list[str]]
) -> None:
    set_shares(engine, Share("a", None, 100), Share("b", None, 0))
    world.jobs(9, gshare="a")
    world.jobs(9, gshare="b")
    count(engine, clock)
    order = ShareOrder(engine, clock)
    assert ask(order) == ["a"]
    set_shares(engine, Share("a", None, 0), Share("b", None, 100))
    assert ask(order) == ["a"]
    clock.advance(seconds=ORDER_SECONDS.default)
    assert ask(order) == ["b"]


def test_a_table_broken_by_hand_stops_no_pilot(
    world: Any, engine: sa.Engine, clock: ManualClock, ask: Callable[..., list[str]]
) -> None:
    set_shares(engine, Share("b", None, 100))
    world.jobs(9, gshare="a")
    world.jobs(9, gshare="b")
    count(engine, clock)
    order = ShareOrder(engine, clock)
    assert ask(order) == ["b"]
    with engine.begin() as tx:
        tx.execute(sa.insert(t.global_shares).values(name="x", parent="nobody", value=1))
    clock.advance(seconds=ORDER_SECONDS.default)
    assert ask(order) == ["b"]


#: Three levels; of 60 slots: mc 18 (sim 12, evgen 6), data 18, analysis 24.
TREE = (
    Share("production", None, 60),
    Share("mc", "production", 50),
    Share("sim", "mc", 200 / 3),
    Share("evgen", "mc", 100 / 3),
    Share("data", "production", 50),
    Share("analysis", None, 40),
)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sixty_slots_converge_to_their_targets_by_the_real_claim(
    world: Any, engine: sa.Engine, clock: ManualClock, ask: Callable[..., list[str]]
) -> None:
    """Two server processes, jobs that end at random, and counts that come every other round. The seed is fixed."""
    set_shares(engine, *TREE)
    for share, n_jobs in {"sim": 300, "evgen": 300, "data": 300, "analysis": 400}.items():
        world.jobs(n_jobs, gshare=share)
    dice = random.Random(14)
    servers = [ShareOrder(engine, clock), ShareOrder(engine, clock)]
    seen: Counter[str] = Counter()
    for turn in range(24):
        if turn % 2 == 0:
            count(engine, clock)
        with engine.begin() as tx:
            held = jobs.refs(tx, t.jobs.c.status == JobState.SENT)
            ended = [job for job in held if dice.random() < 0.3]
            jobs.move_jobs(tx, ended, JobState.CANCELLED, actor="test", why="over", now=clock())
        for slot in range(60 - len(held) + len(ended)):
            if slot % 6 == 0:
                clock.advance(seconds=ORDER_SECONDS.default)
            ask(servers[slot % 2])
        seen.update(given(engine) if turn >= 12 else {})
    assert {share: n / 12 for share, n in seen.items()} == {
        "sim": pytest.approx(12, abs=1.5),
        "evgen": pytest.approx(6, abs=1.5),
        "data": pytest.approx(18, abs=1.5),
        "analysis": pytest.approx(24, abs=1.5),
    }


def test_servers_tell_each_other_what_they_give(
    world: Any, engine: sa.Engine, clock: ManualClock, ask: Callable[..., list[str]]
) -> None:
    """Were they not told, each would make up for all that a share lacks, and together they would overshoot."""
    set_shares(engine, Share("a", None, 50), Share("b", None, 50))
    world.jobs(9, gshare="a", core_count=8)
    world.jobs(9, gshare="b")
    count(engine, clock)
    first, second = ShareOrder(engine, clock), ShareOrder(engine, clock)
    assert ask(first) == ["a"]
    assert second("LOCAL") == ("a", "b")  # not yet told
    clock.advance(seconds=ORDER_SECONDS.default)
    assert first("LOCAL") == ("b", "a")
    clock.advance(seconds=ORDER_SECONDS.default)
    assert second("LOCAL") == ("b", "a")
    clock.advance(seconds=1)
    count(engine, clock)
    with engine.connect() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(t.given_cores)) == 0


def test_forked_workers_have_names_of_their_own(engine: sa.Engine, clock: ManualClock) -> None:
    """They share the application of the process that forked them; one name would have one silence the other."""
    order = ShareOrder(engine, clock)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, order._name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 200).decode() not in ("", order._name)
    os.close(reader)
    os.close(writer)
