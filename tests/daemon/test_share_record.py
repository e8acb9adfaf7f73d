"""The order of shares is recorded with each count: by the code that decides it, in one row."""

from __future__ import annotations

import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.shares import Share
from bamboo.daemon.chores.aggregates import ORDER, Aggregates
from bamboo.daemon.context import Context
from bamboo.sql import shares
from bamboo.sql import tables as t


def recorded(world: World) -> list[sa.Row[tuple[object, ...]]]:
    with world.engine.connect() as tx:
        return list(tx.execute(sa.select(t.decisions).where(t.decisions.c.actor == "share_order")))


def test_the_order_is_recorded_with_its_reasons_in_one_row(world: World, context: Context, clock: ManualClock) -> None:
    world.start(5)
    world.generate(3, gshare="b", core_count=4)
    chore = Aggregates(context)
    chore.run_once()
    assert recorded(world) == []  # there are no shares
    with world.engine.begin() as tx:
        shares.set_shares(tx, [Share("a", None, 50), Share("b", None, 50)])
    chore.run_once()
    clock.advance(seconds=30)
    world.claim(1)
    chore.run_once()
    (row,) = recorded(world)
    assert (row.what, row.repeated, row.last_at) == (ORDER, 1, clock())
    assert row.why["order"] == [{"share": "b", "target": 5.0, "running": 4.0, "queued": 8.0, "missing_percent": 20}]
    assert row.why["gates"][0]["gate"] == "queued jobs"


def test_a_table_of_shares_that_was_broken_by_hand_stops_no_count(world: World, context: Context) -> None:
    world.start(1).generate(1)
    with world.engine.begin() as tx:
        tx.execute(sa.insert(t.global_shares).values(name="a", parent="nobody", value=1))
    Aggregates(context).run_once()
    with world.engine.connect() as tx:
        assert tx.scalar(sa.select(t.job_counts.c.n_jobs)) == 1
    assert recorded(world) == []
