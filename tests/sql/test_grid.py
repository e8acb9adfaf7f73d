"""What the brokerage reads of the grid: links, what queues do, where inputs are."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.plugins.grid import Activity, Amount, Link
from bamboo.plugins.grid_reader import places, read_grid
from bamboo.server.sightings import EVERY, Sightings
from bamboo.sql import grid, queues, tasks
from bamboo.sql import tables as t


def test_the_newest_throughput_counts(engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        grid.set_link(tx, "A", "B", now=clock(), mbps_week=1.0, mbps_day=2.0, closeness=3)
        grid.set_link(tx, "B", "A", now=clock(), blocked="down")
        grid.set_link(tx, "C", "B", now=clock(), mbps_week=5.0, mbps_hour=4.0)
        grid.set_link(tx, "A", "B", now=clock(), queued_files=7)
        found = grid.links_to(tx, "B")
        assert [(row.source, row.mbps, row.closeness, row.queued_files) for row in found] == [
            ("A", 2.0, 3, 7),
            ("C", 4.0, None, 0),
        ]
        assert len(grid.links_to(tx)) == 3


def test_pilots_are_noted_where_there_is_a_queue(engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {}, now=clock())
    mine, others = Sightings(), Sightings()
    for queue in ("Q", "NONE"):
        mine.note(engine, queue, clock())
    clock.advance(seconds=EVERY.total_seconds() - 1)
    mine.note(engine, "Q", clock())  # too soon to be worth a statement
    assert seen(engine) == {"Q": clock() - EVERY + timedelta(seconds=1)}
    others.note(engine, "Q", clock())
    assert seen(engine) == {"Q": clock()}
    clock.advance(seconds=1)
    mine.note(engine, "Q", clock())
    assert seen(engine) == {"Q": clock()}


def seen(engine: sa.Engine) -> dict[str, object]:
    with engine.connect() as tx:
        return {row.queue: row.last_pilot_at for row in grid.activities(tx)}


def test_what_queues_do_is_measured(engine: sa.Engine, clock: ManualClock) -> None:
    world = World(engine, clock).start(4)
    with engine.begin() as tx:
        tasks.update_task(tx, world.jeditaskid, split_rule={"diskIO": 9999}, disk_io=600)
        for number, status in enumerate(("running", "submitted", "finished")):
            values = {"harvester_id": "h", "worker_id": number, "queue": "Q", "attributes": {}}
            stamps = {"created_at": clock(), "modified_at": clock()}
            tx.execute(sa.insert(t.workers).values(status=status, **values, **stamps))
    world.generate(2, core_count=4)
    world.move(world.claim(2), JobState.STARTING, JobState.RUNNING, started_at=clock())
    with engine.begin() as tx:
        grid.note_activity(tx, "IDLE", n_batch_workers=3, disk_io_kbps_per_core=5.0, last_start_at=clock())
        grid.measure_activity(tx)
        now = {row.queue: row for row in grid.activities(tx)}
    # two jobs of 600 kB/s each on four cores each: 1200 / 8
    assert (now["Q"].last_start_at, now["Q"].n_batch_workers, now["Q"].disk_io_kbps_per_core) == (clock(), 2, 150.0)
    assert (now["IDLE"].last_start_at, now["IDLE"].n_batch_workers) == (clock(), 0)
    assert now["IDLE"].disk_io_kbps_per_core is None


def test_inputs_are_at_the_site_whose_storage_has_them(engine: sa.Engine, clock: ManualClock) -> None:
    world = World(engine, clock).start(3)
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://", path="/in.1")
        queues.set_storage(tx, "OTHER", site="R", endpoint="https://r", path="/in")
        tx.execute(sa.update(t.files).where(t.files.c.lfn == "in.1").values(url="file:///in.1/x", n_events=10))
        files = grid.places_of_ready(tx, world.jeditaskid, limit=10)
        found = places(files, grid.storage_rows(tx))
    assert (found.total, found.n_events, found.are_anywhere) == (Amount(3, 3), 10, False)
    assert found.at_sites == {"S": Amount(1, 1)}
    assert places(files, []).are_anywhere


@pytest.mark.parametrize("nucleus", [None, "DISK"])
def test_the_snapshot_has_what_concerns_the_task(engine: sa.Engine, clock: ManualClock, nucleus: str | None) -> None:
    world = World(engine, clock).start(2)
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://", path="/s")
        tasks.update_task(tx, world.jeditaskid, nucleus=nucleus, split_rule={"transHome": "Athena-21.0"})
        grid.set_link(tx, "A", "S", now=clock(), closeness=2)
        grid.set_link(tx, "A", "B", now=clock(), closeness=2)
        grid.set_software(tx, "Q", {"cvmfs": ["atlas"]}, now=clock())
        grid.set_software(tx, "Q", {"cvmfs": ["any"]}, now=clock())
        grid.note_pilot(tx, "Q", now=clock())
        row = tasks.get_task(tx, world.jeditaskid)
        found = read_grid(tx, row, now=clock(), backlog_files=grid.backlog_files(tx))
        tasks.update_task(tx, world.jeditaskid, split_rule={})
        row = tasks.get_task(tx, world.jeditaskid)
        assert read_grid(tx, row, now=clock()).software == {}
        whole = read_grid(tx, row, now=clock(), whole=True)  # it may be asked to have another nucleus, or a release
        assert (set(whole.links), whole.software) == ({("A", "S"), ("A", "B")}, found.software)
    assert found.links == ({("A", "S"): Link(source="A", destination="S", closeness=2)} if nucleus else {})
    assert found.activity == {"Q": Activity(last_pilot_at=clock())}
    assert found.software == {"Q": {"cvmfs": ["any"]}}
    assert found.inputs.total == Amount(2, 2)
    assert found.backlog_files == ({"DISK": 2} if nucleus else {})
