"""Counts of jobs: those that are made between two counts are in them, once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.sql import counts
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


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_counting_and_adding_at_once_get_in_nobodys_way(engine: sa.Engine, clock: ManualClock) -> None:
    together, failed = threading.Barrier(3), list[Exception]()

    def _run(work: Any) -> None:
        together.wait()
        try:
            for n in range(30):
                work(n)
        except sa.exc.SQLAlchemyError as error:
            failed.append(error)

    def _count(n: int) -> None:
        with engine.begin() as tx:
            counts.replace(tx, now=clock())

    def _add(n: int) -> None:
        add(engine, clock, 1, queue=f"Q{n % 3}")

    threads = [threading.Thread(target=_run, args=(work,)) for work in (_count, _add, _add)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


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
