"""Counts of jobs: those that are made between two counts are in them, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from patience import until_somebody_waits
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.sql import counts, shares
from bamboo.sql import tables as t
from bamboo.sql.generation import NewJob

COLUMNS = {"queue": "Q", "gshare": "A", "resource_type": "SCORE", "prod_source_label": "user", "core_count": 2}


def add(engine: sa.Engine, clock: ManualClock, n: int, **columns: Any) -> None:
    with engine.begin() as tx:
        jobs = [NewJob({**COLUMNS, **columns}, "")] * n
        counts.add(tx, jobs, status=JobState.ACTIVATED, work_queue_id=None, now=clock())


def test_jobs_that_are_made_are_added_to_the_counts(engine: sa.Engine, clock: ManualClock) -> None:
    add(engine, clock, 3)
    counted_at = clock()
    clock.advance(seconds=9)
    add(engine, clock, 2)
    add(engine, clock, 1, queue="R")
    with engine.connect() as tx:
        rows = {row.queue: row for row in tx.execute(sa.select(t.job_counts))}
    assert {queue: (row.n_jobs, row.n_cores) for queue, row in rows.items()} == {"Q": (5, 10), "R": (1, 2)}
    assert {row.counted_at for row in rows.values()} == {counted_at}  # all were counted at once, and these added


def kept(engine: sa.Engine) -> dict[tuple[str, str], tuple[int, int]]:
    """The counts: {(queue, state): (jobs, cores)}."""
    with engine.connect() as tx:
        return {(row.queue, row.status): (row.n_jobs, row.n_cores) for row in counts.of_queues(tx)}


def test_counts_follow_the_jobs(world: World, clock: ManualClock) -> None:
    def replace() -> None:
        with world.engine.begin() as tx:
            counts.replace(tx, now=clock())

    world.start(5).generate(2, core_count=4)
    world.generate(1, queue="R")
    replace()
    before = clock()
    assert kept(world.engine) == {("Q", "activated"): (2, 8), ("R", "activated"): (1, 1)}
    clock.advance(seconds=30)
    world.claim(2)
    world.generate(1, queue="R", counted=True)
    assert kept(world.engine) == {("Q", "activated"): (2, 8), ("R", "activated"): (2, 2)}
    replace()
    assert kept(world.engine) == {("Q", "sent"): (2, 8), ("R", "activated"): (2, 2)}
    with world.engine.connect() as tx:
        assert shares.counted_at(tx) == clock() != before
        assert {row.counted_at for row in counts.of_queues(tx)} == {clock()}
    replace()
    assert kept(world.engine) == {("Q", "sent"): (2, 8), ("R", "activated"): (2, 2)}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_counting_and_making_jobs_at_once_count_each_job_once(engine: sa.Engine, clock: ManualClock) -> None:
    """Queues come up and go on in different orders, so that whoever waits in a circle is found out too."""
    rounds = 60
    makers = [World(engine, clock).start(3 * rounds, queue=f"Q{n}") for n in range(2)]
    together, failed = threading.Barrier(4), list[Exception]()

    def _run(work: Any) -> None:
        together.wait()
        try:
            for n in range(rounds):
                work(n)
        except sa.exc.SQLAlchemyError as error:
            failed.append(error)

    def _count(n: int) -> None:
        with engine.begin() as tx:
            counts.replace(tx, now=clock())

    def _make(world: World) -> Callable[[int], object]:
        return lambda n: world.generate(1, counted=True, queue=f"Q{n % 7}", core_count=1 + n % 2)

    works = [_count, _count, *(_make(world) for world in makers)]
    threads = [threading.Thread(target=_run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with engine.connect() as tx:
        figures = (sa.func.count(), sa.func.sum(t.jobs.c.core_count))
        counted = tx.execute(sa.select(t.jobs.c.queue, t.jobs.c.status, *figures).group_by("queue", "status")).all()
    assert sum(row[2] for row in counted) == len(makers) * rounds
    assert kept(engine) == {(queue, status): (n_jobs, n_cores) for queue, status, n_jobs, n_cores in counted}


def replace_behind(tx: sa.Connection, engine: sa.Engine, clock: ManualClock) -> None:
    """Have the jobs counted while a transaction is open that the count waits for, and commit that."""

    def _replace() -> None:
        with engine.begin() as other:
            counts.replace(other, now=clock())

    with ThreadPoolExecutor() as pool:
        done = pool.submit(_replace)
        until_somebody_waits(engine)
        tx.commit()
        done.result()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_jobs_that_are_made_while_jobs_are_counted_count_once(world: World, clock: ManualClock) -> None:
    world.start(3).generate(1, counted=True)
    with world.engine.connect() as tx:
        world.generate_in(tx, 2, counted=True)
        replace_behind(tx, world.engine, clock)
    assert kept(world.engine) == {("Q", "activated"): (3, 3)}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_two_that_count_at_once_count_each_job_once(world: World, clock: ManualClock) -> None:
    world.start(3).generate(3)
    with world.engine.connect() as tx:
        counts.replace(tx, now=clock())
        replace_behind(tx, world.engine, clock)
    assert kept(world.engine) == {("Q", "activated"): (3, 3)}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_whoever_makes_jobs_at_other_queues_does_not_wait_for_the_counting(
    engine: sa.Engine, clock: ManualClock
) -> None:
    add(engine, clock, 1)
    with engine.begin() as tx:
        counts.replace(tx, now=clock())
        add(engine, clock, 2, queue="R")
        assert ("R", "activated") in kept(engine), "entered before the count is committed"


def test_of_many_jobs_the_kept_counts_are_told_while_somebody_keeps_them(engine: sa.Engine, clock: ManualClock) -> None:
    """Few jobs are counted anew: these counts name jobs that are not there."""
    counted_at = clock()
    add(engine, clock, 3)
    with engine.connect() as tx:
        assert counts.lately(tx, now=clock()) == ({}, None)
    with engine.begin() as tx:
        tx.execute(sa.update(t.job_counts).values(n_jobs=counts.FEW + 1))
        over = {**COLUMNS, "n_jobs": 7, "n_cores": 7, "work_queue_id": 0, "counted_at": counted_at}
        del over["core_count"]
        tx.execute(sa.insert(t.job_counts).values(**{**over, "status": JobState.FINISHED}))
    with engine.connect() as tx:
        clock.advance(seconds=200)
        assert counts.lately(tx, now=clock()) == ({"Q": {"activated": counts.FEW + 1}}, counted_at)
        clock.advance(seconds=101)
        assert counts.lately(tx, now=clock()) == ({}, None)
