"""What is renewed over and over touches no index: so it stays on its page, and leaves nothing for vacuum to clean up.

PostgreSQL counts such updates (heap-only tuples). An index on one of the columns that are renewed would end it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import TaskState
from bamboo.sql import datasets, decisions, grid, heartbeats, jobs, leases, tasks
from bamboo.sql import tables as t

#: How often each is renewed.
TIMES = 4


@pytest.fixture
def postgres(postgres_url: str, open_database: Callable[[str], sa.Engine], clock: ManualClock) -> World:
    """A world whose pages have room: how much they have otherwise is a matter of how fast vacuum follows."""
    engine = open_database(postgres_url)
    with engine.begin() as tx:
        for table in RENEWALS:
            tx.exec_driver_sql(f"ALTER TABLE {table} SET (fillfactor = 10)")
    world = World(engine, clock)
    world.start(3).run(3)
    with engine.begin() as tx:
        grid.note_pilot(tx, "Q", now=clock())
        leases.acquire(tx, "chore", "me", until=clock(), now=clock())
        grid.set_link(tx, "A", "B", now=clock(), mbps_hour=1.0)
        _decide(world, tx)
        _report(world, tx)
    return world


def _heartbeat(world: World, tx: sa.Connection) -> None:
    (held, *_) = jobs.refs(tx)
    assert jobs.renew(tx, held, lease_until=world.clock() + timedelta(minutes=30), now=world.clock(), max_rss_kb=1)


def _report(world: World, tx: sa.Connection) -> None:
    (held, *_) = jobs.refs(tx)
    beat = heartbeats.Heartbeat(held.pandaid, held.attempt_nr, world.clock(), world.clock(), {}, {"stdout_tail": "x"})
    assert heartbeats.write(tx, [beat]) == 1


def _task(world: World, tx: sa.Connection) -> None:
    now = world.clock()
    (row,) = tasks.take(tx, [TaskState.RUNNING], owner="a", until=now + timedelta(minutes=1), now=now, limit=1)
    tasks.take_serials(tx, world.jeditaskid, 3)
    tasks.release(tx, tasks.ref(row, "a"), next_round_at=now)


def _dataset(world: World, tx: sa.Connection) -> None:
    datasets.add_counts(tx, {world.datasetids["input"]: {"n_files_used": 1}}, now=world.clock())


def _lease(world: World, tx: sa.Connection) -> None:
    held = leases.acquire(tx, "chore", "me", until=world.clock(), now=world.clock() + timedelta(seconds=1))
    assert held is not None
    leases.renew(tx, held, until=world.clock())


def _activity(world: World, tx: sa.Connection) -> None:
    assert grid.note_pilot(tx, "Q", now=world.clock())


def _link(world: World, tx: sa.Connection) -> None:
    grid.set_link(tx, "A", "B", now=world.clock(), mbps_hour=2.0)


def _decide(world: World, tx: sa.Connection) -> None:
    decisions.record(tx, actor="a", what="w", why={"n": 1}, now=world.clock(), jeditaskid=world.jeditaskid)


#: What renews a table's rows, and how many in one go.
RENEWALS: dict[str, tuple[Callable[[World, sa.Connection], None], int]] = {
    "jobs": (_heartbeat, 1),
    "job_reports": (_report, 1),
    "tasks": (_task, 3),
    "datasets": (_dataset, 1),
    "leases": (_lease, 2),
    "queue_activity": (_activity, 1),
    "links": (_link, 1),
    "decisions": (_decide, 1),
}


def test_what_is_renewed_touches_no_index(postgres: World) -> None:
    found = {}
    for table, (renew, _) in RENEWALS.items():
        before = _updates(postgres, table)
        for _ in range(TIMES):
            with postgres.engine.begin() as tx:
                renew(postgres, tx)
        found[table] = tuple(after - first for after, first in zip(_updates(postgres, table), before, strict=True))
    assert found == {table: (TIMES * rows, TIMES * rows) for table, (_, rows) in RENEWALS.items()}


def _updates(world: World, table: str) -> tuple[int, int]:
    """The updates of a table, and those of them that touched no index."""
    with world.engine.begin() as tx:
        tx.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    with world.engine.begin() as tx:
        figures = sa.text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = :table")
        every, hot = tx.execute(figures, {"table": table}).one()
    return int(every), int(hot)


def test_large_tables_say_how_they_are_kept() -> None:
    """Those that are renewed leave room on their pages."""
    for table in RENEWALS:
        assert int(t.metadata.tables[table].dialect_options["postgresql"]["with"]["fillfactor"]) < 100, table
