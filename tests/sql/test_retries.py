"""What inputs need after failures: entered once, however many enter it, and handed out from the least on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bamboo.sql import files, retries
from bamboo.sql import tables as t
from bamboo.sql.retries import Needs, Retry

NEEDS = st.builds(Needs, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


def enter(engine: sa.Engine, jeditaskid: int, needs: Needs, old: int | None = None) -> int | None:
    with engine.begin() as tx:
        return retries.Bookings(tx).needsid(Retry(jeditaskid=jeditaskid, why="", needs=needs), old)


def test_of_many_at_once_all_get_the_same_row(engine: sa.Engine, world: Any, at_once: Callable[..., Any]) -> None:
    world.start(1)
    got = at_once(4, lambda _: enter(engine, world.jeditaskid, Needs(3000)))
    assert len(set(got)) == 1
    with engine.connect() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(t.input_needs)) == 1


def test_the_least_needs_come_first_and_only_those_that_are_ready(engine: sa.Engine, world: Any) -> None:
    world.start(4)
    large, small = (enter(engine, world.jeditaskid, needs) for needs in (Needs(4000), Needs(3000, 0, 2)))
    of_input = {"in.1": large, "in.2": small, "in.3": small}
    with engine.begin() as tx:
        for lfn, needsid in of_input.items():
            tx.execute(sa.update(t.files).where(t.files.c.lfn == lfn).values(needsid=needsid))
    order = []
    for _ in range(4):
        with engine.begin() as tx:
            needsid, needs = retries.needs_in_turn(tx, world.jeditaskid, world.datasetids["input"])[0]
            ready = files.ready(tx, world.datasetids["input"], limit=9, needsid=needsid)
            order.append((needs, [file.lfn for file in ready]))
            tx.execute(
                sa.update(t.files).where(t.files.c.fileid.in_([f.fileid for f in ready])).values(status="missing")
            )
    assert order == [
        (Needs(), ["in.0"]),
        (Needs(3000, 0, 2), ["in.2", "in.3"]),
        (Needs(4000), ["in.1"]),
        (Needs(), []),
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_was_needed_before_stays(engine: sa.Engine, world: Any) -> None:
    world.start(1)
    first = enter(engine, world.jeditaskid, Needs(3000, 0, 10))
    second = enter(engine, world.jeditaskid, Needs(0, 7200, 5), old=first)
    with engine.connect() as tx:
        row = tx.execute(sa.select(t.input_needs).where(t.input_needs.c.needsid == second)).one()
    assert (row.ram_count_mb, row.max_walltime_seconds, row.max_files_per_job) == (3000, 7200, 5)
    assert enter(engine, world.jeditaskid, Needs(), old=first) == first
    assert enter(engine, world.jeditaskid, Needs()) is None


@given(NEEDS, NEEDS, NEEDS)
def test_joining_needs_is_a_join(one: Needs, two: Needs, three: Needs) -> None:
    assert one.joined(two) == two.joined(one)
    assert one.joined(two.joined(three)) == one.joined(two).joined(three)
    assert one.joined(one) == one
    assert one.joined(Needs()) == one
    both = one.joined(two)
    assert both.ram_count_mb >= one.ram_count_mb and both.max_walltime_seconds >= one.max_walltime_seconds
    assert not one.max_files_per_job or 0 < both.max_files_per_job <= one.max_files_per_job
