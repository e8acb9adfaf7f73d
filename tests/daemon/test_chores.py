"""Activator, closer, aggregates, archive and tmpwatch."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState, OutputDatasetState, TaskState
from bamboo.daemon.chores import activator, aggregates, archive, closer, tmpwatch
from bamboo.daemon.chores.activator import Activated, Activator
from bamboo.daemon.chores.adder import Adder
from bamboo.daemon.chores.aggregates import Aggregates, Counted
from bamboo.daemon.chores.archive import Archive, Archived
from bamboo.daemon.chores.closer import Closed, Closer
from bamboo.daemon.chores.tmpwatch import Cleaned, Tmpwatch
from bamboo.daemon.context import Context
from bamboo.sql import archive_partitions, counts, datasets, jobs, sandboxes, tasks, workers
from bamboo.sql import tables as t


def test_jobs_whose_inputs_are_there_are_activated(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(6)
    left_behind = [
        world.generate(1, status=status)[0] for status in (JobState.PENDING, JobState.DEFINED, JobState.ASSIGNED)
    ]
    (held_back,) = world.generate(1, status=JobState.THROTTLED)
    (nowhere,) = world.generate(1, status=JobState.ASSIGNED)
    with world.engine.begin() as tx:
        tx.execute(sa.update(t.job_files).where(t.job_files.c.pandaid == nowhere).values(url=None))
    clock.advance(minutes=2)
    (fresh,) = world.generate(1, status=JobState.DEFINED)

    assert Activator(context).run_once() == Activated(activated=3)
    assert Activator(context).run_once() == Activated()
    assert {pandaid: row.status for pandaid, row in world.jobs().items()} == {
        **dict.fromkeys(left_behind, "activated"),
        held_back: "throttled",
        nowhere: "assigned",
        fresh: "defined",
    }


def outputs(world: Any) -> set[str]:
    with world.engine.connect() as tx:
        return {row.status for row in datasets.of_task(tx, world.jeditaskid) if row.type != "input"}


def test_outputs_of_tasks_that_are_over_are_closed(
    world: Any, make_world: Any, context: Context, clock: ManualClock
) -> None:
    world.start(1)
    at_work = make_world(world.engine).start(1)
    not_over = make_world(world.engine).start(2)
    world.hold(1)
    Adder(context).run_once()
    not_over.generate(1)
    with world.engine.begin() as tx:
        tasks.update_task(tx, not_over.jeditaskid, status=TaskState.TOBROKEN)

    assert Closer(context).run_once() == Closed(datasets_closed=2)
    assert Closer(context).run_once() == Closed()
    assert [outputs(one) for one in (world, at_work, not_over)] == [{"prepared"}, {"running"}, {"running"}]


def test_a_task_that_the_adder_overlooked_is_completed(world: Any, context: Context) -> None:
    """The adder dies between booking the last job and completing the task."""
    world.start(1)
    world.hold(1)
    adder = Adder(context)
    with world.engine.begin() as tx:
        adder._book(tx, jobs.refs(tx, t.jobs.c.status == JobState.HOLDING))
    assert world.task_status() == "running"

    assert Closer(context).run_once() == Closed(tasks_completed=1, datasets_closed=2)
    assert world.task_status() == "prepared"
    with world.engine.begin() as tx:  # as the Post Processor will
        assert datasets.move_outputs(
            tx, world.jeditaskid, [OutputDatasetState.PREPARED], OutputDatasetState.DONE, now=context.clock()
        )


def test_counts_are_replaced(world: Any, context: Context) -> None:
    world.start(5)
    world.generate(2)
    assert Aggregates(context).run_once() == Counted()
    world.claim(1)
    world.generate(3, queue="R")
    Aggregates(context).run_once()

    with world.engine.connect() as tx:
        kept = {(row.queue, row.status): row.n_jobs for row in counts.of_queues(tx)}
        moments = {row.counted_at for row in counts.of_queues(tx)}
    assert kept == {("Q", "activated"): 1, ("Q", "sent"): 1, ("R", "activated"): 3}
    assert moments == {context.clock()}


def over(world: Any, status: TaskState = TaskState.DONE) -> None:
    with world.engine.begin() as tx:
        tasks.update_task(tx, world.jeditaskid, status=status, state_changed_at=world.clock())


def ids_in(world: Any, table: sa.Table) -> set[int]:
    with world.engine.connect() as tx:
        return set(tx.scalars(sa.select(table.c.pandaid)))


def test_old_jobs_are_archived_and_later_forgotten(
    world: Any, make_world: Any, context: Context, clock: ManualClock
) -> None:
    old = set(world.start(2).hold(2))
    going_on = make_world(world.engine).start(2)
    kept = set(going_on.hold(1))
    Adder(context).run_once()
    over(world)
    clock.advance(days=2)
    young = make_world(world.engine).start(1)
    kept |= set(young.hold(1))
    Adder(context).run_once()
    over(young)
    clock.advance(days=1, minutes=1)

    assert Archive(context).run_once() == Archived(archived=2, tasks=1)
    assert (ids_in(world, t.archived_jobs), ids_in(world, t.jobs)) == (old, kept)
    assert ids_in(world, t.job_files) == old | kept
    assert world.miscounted() == {}

    clock.advance(days=363)
    at_once = 2 if world.engine.dialect.name == "sqlite" else 0  # PostgreSQL forgets months: this one is not all old
    assert Archive(context).run_once() == Archived(archived=1, tasks=1, forgotten=at_once)
    clock.advance(days=31)
    assert Archive(context).run_once() == Archived(forgotten=3 - at_once)
    kept &= ids_in(world, t.jobs)
    for table in (t.job_files, t.job_params, t.job_reports, t.job_events):
        assert ids_in(world, table) == kept
    assert Archive(context).run_once() == Archived()


def test_an_archived_job_is_what_it_was(world: Any, context: Context, clock: ManualClock) -> None:
    world.start(1)
    (pandaid,) = world.hold(1, "failed", exe_error_code=65, exe_error_diag="it broke")
    Adder(context).run_once()
    before = dict(world.jobs()[pandaid]._mapping)
    over(world)
    clock.advance(days=4)
    Archive(context).run_once()

    with world.engine.connect() as tx:
        after = dict(tx.execute(sa.select(t.archived_jobs)).one()._mapping)
    assert after == before


def months(engine: sa.Engine) -> list[str]:
    with engine.begin() as tx:
        return [name for _, name in archive_partitions.months(tx)]


@pytest.fixture
def postgres(postgres_url: str, open_database: Any) -> sa.Engine:
    engine: sa.Engine = open_database(postgres_url)
    return engine


def test_months_of_the_archive_are_made_ahead_and_dropped_behind(
    postgres: sa.Engine, make_world: Any, make_context: Any, clock: ManualClock
) -> None:
    clock.now = datetime(2031, 1, 15, tzinfo=UTC)
    context = make_context(postgres, retention={"archive_jobs": 1, "archived_jobs": 10})
    Archive(context).run_once()
    assert months(postgres) == ["archived_jobs_2031_01", "archived_jobs_2031_02"]
    world = make_world(postgres).start(2)
    world.hold(2)
    Adder(context).run_once()
    over(world)
    clock.advance(days=2)
    assert Archive(context).run_once() == Archived(archived=2, tasks=1)
    clock.advance(days=34)
    assert Archive(context).run_once() == Archived(forgotten=2)
    assert months(postgres) == ["archived_jobs_2031_02", "archived_jobs_2031_03"]
    assert not any(name.startswith("forgotten") for name in sa.inspect(postgres).get_table_names())


def test_archiving_and_forgetting_wait_for_no_reader_of_the_archive(
    postgres: sa.Engine, make_world: Any, make_context: Any, clock: ManualClock, caplog: Any
) -> None:
    """A month cannot be taken out while somebody reads: its jobs are forgotten one by one then."""
    clock.now = datetime(2031, 1, 15, tzinfo=UTC)
    context = make_context(postgres, retention={"archive_jobs": 1, "archived_jobs": 10})
    Archive(context).run_once()
    world = make_world(postgres).start(1)
    world.hold(1)
    Adder(context).run_once()
    over(world)
    clock.advance(days=40)
    with postgres.connect() as reader:
        reader.execute(sa.select(t.archived_jobs)).all()
        assert Archive(context).run_once() == Archived(archived=1, tasks=1, forgotten=1)
    assert "partitions_not_changed" in [getattr(record, "event", None) for record in caplog.records]
    assert months(postgres)[0] == "archived_jobs_2031_01"
    Archive(context).run_once()
    assert months(postgres)[0] == "archived_jobs_2031_02"


def test_a_role_that_may_not_make_tables_archives_and_forgets_all_the_same(
    postgres: sa.Engine, make_world: Any, make_context: Any, clock: ManualClock, open_database: Any, caplog: Any
) -> None:
    clock.now = datetime(2031, 1, 15, tzinfo=UTC)
    made, role = months(postgres), f"daemon_{os.urandom(6).hex()}"
    with postgres.begin() as tx:
        tx.exec_driver_sql(f"CREATE ROLE {role}")
        tx.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    humble = open_database(str(postgres.url.render_as_string(hide_password=False)))
    sa.event.listen(humble, "begin", lambda connection: connection.exec_driver_sql(f"SET ROLE {role}"))
    world = make_world(postgres).start(1)
    world.hold(1)
    Adder(make_context(postgres)).run_once()
    over(world)
    clock.advance(days=4)
    chore = Archive(make_context(humble, retention={"archived_jobs": 10}))
    assert chore.run_once() == Archived(archived=1, tasks=1)
    clock.advance(days=40)
    assert chore.run_once() == Archived(forgotten=1)
    assert "partitions_not_changed" in [getattr(record, "event", None) for record in caplog.records]
    assert months(postgres) == made
    with postgres.begin() as tx:
        tx.exec_driver_sql(f"DROP OWNED BY {role}")
        tx.exec_driver_sql(f"DROP ROLE {role}")


def test_workers_of_which_nobody_speaks_are_forgotten(world: Any, context: Context, clock: ManualClock) -> None:
    def tell(worker_id: int) -> None:
        with world.engine.begin() as tx:
            workers.tell_pilot_status(tx, "h", worker_id, pilot_status="running", node=None, now=clock())

    tell(1)
    tell(2)
    clock.advance(days=20)
    tell(2)
    clock.advance(days=11)
    assert Archive(context).run_once() == Archived(workers=1)
    with world.engine.connect() as tx:
        assert list(tx.scalars(sa.select(t.workers.c.worker_id))) == [2]
    assert Archive(context).run_once() == Archived()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


def put(cache: Path, name: str, written_at: datetime) -> Path:
    path = cache / name
    path.write_text("x")
    os.utime(path, (written_at.timestamp(), written_at.timestamp()))
    return path


def test_only_sandboxes_that_nobody_needs_are_removed(
    world: Any, make_context: Any, clock: ManualClock, cache: Path
) -> None:
    context = make_context(world.engine, server={"cache_dir": cache})
    long_ago = clock() - timedelta(days=31)
    with world.engine.begin() as tx:
        for name, used_at in (
            ("jobO.unused.tar.gz", long_ago),
            ("other.tgz", long_ago),
            ("sources.needed.tar.gz", long_ago),
            ("sources.past.tar.gz", long_ago),
            ("sources.used.tar.gz", clock() - timedelta(days=29)),
        ):
            sandboxes.insert(tx, name, user_name="alice", size_bytes=1, checksum="1", now=used_at)
            put(cache, name, long_ago)
    world.start(1)
    past = world.start(1).jeditaskid
    with world.engine.begin() as tx:
        tasks.set_parameters(tx, past, {"jobParameters": [{"value": "-a sources.past.tar.gz"}]})
    over(world)
    world.start(1)
    with world.engine.begin() as tx:
        tasks.set_parameters(tx, world.jeditaskid, {"jobParameters": [{"value": "-a sources.needed.tar.gz"}]})
    put(cache, ".upload-abc", clock() - timedelta(days=2))
    put(cache, ".upload-new", clock())
    put(cache, "sources.stray.tar.gz", clock() - timedelta(days=2))
    put(cache, "sources.fresh.tar.gz", clock())
    put(cache, "somebody's", long_ago)

    assert Tmpwatch(context).run_once() == Cleaned(sandboxes=3, files=2)
    left = {".upload-new", "sources.fresh.tar.gz", "somebody's", "sources.needed.tar.gz", "sources.used.tar.gz"}
    assert {path.name for path in cache.iterdir()} == left
    assert Tmpwatch(context).run_once() == Cleaned()


def test_a_sandbox_that_was_uploaded_anew_stays(world: Any, make_context: Any, clock: ManualClock, cache: Path) -> None:
    """Its row is old, and goes; its file is young: an upload is just about to enter the row again."""
    with world.engine.begin() as tx:
        sandboxes.insert(
            tx, "jobO.a.tar.gz", user_name="a", size_bytes=1, checksum="1", now=clock() - timedelta(days=31)
        )
    put(cache, "jobO.a.tar.gz", clock())

    assert Tmpwatch(make_context(world.engine, server={"cache_dir": cache})).run_once() == Cleaned(sandboxes=1)
    assert (cache / "jobO.a.tar.gz").exists()


def test_tmpwatch_does_not_mind_a_missing_directory(world: Any, make_context: Any, tmp_path: Path) -> None:
    context = make_context(world.engine, server={"cache_dir": tmp_path / "nowhere"})
    assert Tmpwatch(context).run_once() == Cleaned()


@pytest.mark.parametrize("module", [activator, aggregates, archive, closer, tmpwatch])
def test_a_chore_finds_nothing_in_an_empty_database(context: Context, module: Any) -> None:
    report = module.build(context).run_once()
    assert report == type(report)()
