"""The archive: what moves into it and when, at what cost, and how months of it go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState, TaskState
from bamboo.sql import archive, archive_partitions, job_queries, job_records, jobs, migrate, task_queries, tasks
from bamboo.sql import tables as t
from bamboo.sql.views import all_jobs


def end(world: World, n: int, **columns: Any) -> list[int]:
    """Have jobs closed; returns their ids."""
    ids = world.generate(n, **columns)
    with world.engine.begin() as tx:
        held = jobs.refs(tx, t.jobs.c.pandaid.in_(ids))
        jobs.move_jobs(tx, held, JobState.CLOSED, actor="test", why="test", now=world.clock())
    return ids


def move(world: World, to: TaskState) -> None:
    """A step of the task."""
    with world.engine.begin() as tx:
        tasks.move_task(tx, tasks.ref(tasks.get_task(tx, world.jeditaskid)), to, actor="t", why="t", now=world.clock())


def over(world: World) -> None:
    """End the task."""
    with world.engine.begin() as tx:
        values = {"status": TaskState.DONE, "state_changed_at": world.clock()}
        tasks.update_task(tx, world.jeditaskid, **values)


def archived(world: World, *, limit: int = 100, after: Any = None, before: datetime | None = None) -> Any:
    """Archive a page of what is older than an hour."""
    now = world.clock()
    with world.engine.begin() as tx:
        before = before or now - timedelta(hours=1)
        return archive.archive_jobs(tx, before=before, now=now, limit=limit, after=after)


def ids_in(world: World, table: Any) -> list[int]:
    with world.engine.connect() as tx:
        return sorted(set(tx.scalars(sa.select(table.c.pandaid))))


@pytest.fixture
def postgres(postgres_url: str, open_database: Callable[[str], sa.Engine], clock: ManualClock) -> World:
    return World(open_database(postgres_url), clock)


# What moves.


def test_a_task_is_looked_at_until_none_of_its_jobs_is_live(world: World, clock: ManualClock) -> None:
    world.start(4)
    first = end(world, 3)
    (going_on,) = world.generate(1)
    over(world)
    clock.advance(hours=2)
    page = archived(world, limit=2)
    assert (page.jobs, page.tasks, page.more) == (2, 0, True)
    page = archived(world, limit=2, after=page.last)
    assert (page.jobs, page.tasks, page.more) == (1, 0, False)
    assert (ids_in(world, t.archived_jobs), ids_in(world, t.jobs)) == (first, [going_on])
    with world.engine.begin() as tx:
        jobs.move_jobs(tx, jobs.refs(tx), JobState.CLOSED, actor="test", why="test", now=clock())
    assert archived(world).jobs == 0  # it has only just ended
    clock.advance(hours=2)
    page = archived(world)
    assert (page.jobs, page.tasks) == (1, 1)
    page = archived(world)
    assert (page.jobs, page.tasks, page.more) == (0, 0, False)


def test_a_task_that_goes_on_is_looked_at_again_when_it_is_over_again(world: World, clock: ManualClock) -> None:
    world.start(2)
    end(world, 1)
    over(world)
    clock.advance(hours=2)
    assert archived(world).tasks == 1
    move(world, TaskState.TOINCEXEC)
    (second,) = end(world, 1)
    over(world)
    clock.advance(hours=2)
    page = archived(world)
    assert (page.jobs, page.tasks, second in ids_in(world, t.archived_jobs)) == (1, 1, True)


def test_tasks_that_cannot_be_archived_do_not_hold_up_those_behind_them(world: World, clock: ManualClock) -> None:
    stuck = [World(world.engine, clock).start(1) for _ in range(3)]
    for one in stuck:
        one.generate(1)
        over(one)
    world.start(1)
    (pandaid,) = end(world, 1)
    over(world)
    clock.advance(hours=2)
    pages, after = 0, None
    while pages < 9:
        page = archived(world, limit=2, after=after)
        pages, after = pages + 1, page.last
        if not page.more:
            break
    assert (pages, ids_in(world, t.archived_jobs)) == (3, [pandaid])


def test_all_jobs_are_seen_in_order_wherever_they_are(world: World, clock: ManualClock) -> None:
    world.start(6)
    old = end(world, 3)
    over(world)
    clock.advance(hours=2)
    archived(world)
    new = world.generate(2)
    with world.engine.connect() as tx:
        assert job_queries.ids_of_task(tx, world.jeditaskid) == [*old, *new]
        listed = job_queries.list_jobs(tx, world.jeditaskid, after=old[0], limit=3)
        assert [(job.pandaid, job.is_archived) for job in listed] == [
            (old[1], True),
            (old[2], True),
            (new[0], False),
        ]
        assert task_queries.job_counts(tx, world.jeditaskid) == {"closed": 3, "activated": 2}
        assert set(job_queries.find_jobs(tx, [old[0], new[0]], with_archive=False)) == {new[0]}
        assert job_queries.states_of(tx, [old[0], new[0], 99]) == {
            old[0]: ("closed", 1),
            new[0]: ("activated", 1),
        }


# Months, on PostgreSQL.


def months(world: World) -> list[str]:
    with world.engine.begin() as tx:
        return [name for _, name in archive_partitions.months(tx)]


def make(world: World, until: datetime) -> int:
    """Make the months that are missing; returns how many."""
    for made in range(100):
        with world.engine.begin() as tx:
            if not archive_partitions.make_next(tx, until=until):
                return made
    raise AssertionError("there is no end of months")


def archived_at(world: World, moment: datetime, n: int = 1) -> list[int]:
    """Jobs in the archive that were last modified at a moment."""
    one = World(world.engine, ManualClock(moment)).start(n)
    ids = end(one, n)
    over(one)
    archived(one, before=moment + timedelta(seconds=1))
    return ids


def in_partition(world: World, name: str) -> list[int]:
    with world.engine.connect() as tx:
        return sorted(tx.scalars(sa.select(sa.column("pandaid")).select_from(sa.table(name))))


START = datetime(2030, 1, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def parted(postgres: World) -> World:
    """An archive whose last month is April 2030."""
    make(postgres, datetime(2030, 4, 1, tzinfo=UTC))
    return postgres


def test_jobs_go_to_the_partition_of_their_month(parted: World) -> None:
    assert months(parted)[-3:] == ["archived_jobs_2030_02", "archived_jobs_2030_03", "archived_jobs_2030_04"]
    january = archived_at(parted, START)
    february = archived_at(parted, START + timedelta(seconds=1))
    beyond = archived_at(parted, START + timedelta(days=365))
    long_ago = archived_at(parted, datetime(1999, 1, 1, tzinfo=UTC))
    assert in_partition(parted, "archived_jobs_2030_01") == january
    assert in_partition(parted, "archived_jobs_2030_02") == february
    assert in_partition(parted, archive_partitions.OTHER) == beyond
    assert in_partition(parted, months(parted)[0]) == long_ago


def test_jobs_that_came_before_their_month_move_into_it(parted: World) -> None:
    early = archived_at(parted, datetime(2030, 5, 9, tzinfo=UTC))
    earlier_still = archived_at(parted, datetime(2030, 6, 9, tzinfo=UTC))
    assert make(parted, datetime(2030, 5, 31, tzinfo=UTC)) == 1
    assert in_partition(parted, "archived_jobs_2030_05") == early
    assert in_partition(parted, archive_partitions.OTHER) == earlier_still


def detach(world: World, before: datetime) -> int:
    for detached in range(100):
        with world.engine.begin() as tx:
            if not archive_partitions.detach_oldest(tx, before=before):
                return detached
    raise AssertionError("there is no end of months")


def forget(world: World, before: datetime, *, limit: int = 100) -> int:
    """Forget what is older, by months and then one by one; returns how many jobs."""
    total = 0
    n = months_page = limit
    while n == limit or months_page == limit:
        with world.engine.begin() as tx:
            months_page = archive.forget_detached(tx, limit=limit)
            n = archive.forget_jobs(tx, before=before, limit=limit)
        total += months_page + n
    return total


def tables_like(world: World, prefix: str) -> list[str]:
    return [name for name in sa.inspect(world.engine).get_table_names() if name.startswith(prefix)]


def test_a_month_goes_when_all_of_it_is_old_and_takes_everything_along(parted: World) -> None:
    january = archived_at(parted, START, n=3)
    february = archived_at(parted, START + timedelta(seconds=1))
    with parted.engine.begin() as tx:
        job_records.add(tx, {pandaid: [job_records.Told()] for pandaid in january + february}, now=START)
    detach(parted, START)
    assert months(parted)[0] == "archived_jobs_2030_01"  # one second of it is not old yet
    forget(parted, START)
    assert detach(parted, START + timedelta(seconds=1)) == 1
    assert ids_in(parted, all_jobs) == february  # nobody sees them any more
    assert ids_in(parted, t.job_events) == january + february
    with parted.engine.begin() as tx:
        assert archive.forget_detached(tx, limit=2) == 2
    assert ids_in(parted, t.job_events) == january[2:] + february
    assert tables_like(parted, archive_partitions.DETACHED) == ["forgotten_jobs_2030_01"]
    assert forget(parted, START, limit=2) == 1  # where the page before has stopped
    assert tables_like(parted, archive_partitions.DETACHED) == []
    for table in (t.job_events, t.job_files, t.job_params, t.job_records, all_jobs):
        assert ids_in(parted, table) == february


def test_a_job_of_a_month_that_is_gone_is_archived_and_forgotten_all_the_same(parted: World) -> None:
    detach(parted, datetime(2030, 3, 1, tzinfo=UTC))
    late = archived_at(parted, START)
    assert in_partition(parted, archive_partitions.OTHER) == late
    assert forget(parted, datetime(2030, 3, 15, tzinfo=UTC)) == 1
    assert ids_in(parted, t.job_events) == []


def test_one_process_at_a_time_changes_partitions_and_none_waits(parted: World) -> None:
    until = datetime(2030, 5, 1, tzinfo=UTC)
    with parted.engine.begin() as slow:
        assert archive_partitions.make_next(slow, until=until)
        with parted.engine.begin() as other:
            assert not archive_partitions.make_next(other, until=until)
            assert not archive_partitions.detach_oldest(other, before=until)
            assert archive.forget_detached(other, limit=1) == 0
    assert months(parted)[-1] == "archived_jobs_2030_05"


def test_processes_at_once_make_each_month_once(postgres: World, at_once: Callable[..., Any]) -> None:
    until = datetime(2031, 1, 1, tzinfo=UTC)
    before = len(months(postgres))
    made = at_once(4, lambda number: make(postgres, until))
    made.append(make(postgres, until))
    assert sum(made) == len(months(postgres)) - before
    assert months(postgres)[-1] == "archived_jobs_2031_01"


def test_the_archive_is_one_table_again_in_older_revisions(parted: World) -> None:
    january, february = archived_at(parted, START), archived_at(parted, START + timedelta(days=9))
    other = archived_at(parted, datetime(2030, 9, 1, tzinfo=UTC))
    detach(parted, datetime(2030, 2, 1, tzinfo=UTC))
    with parted.engine.connect() as tx:
        before = tx.execute(sa.select(t.archived_jobs).order_by(t.archived_jobs.c.pandaid)).all()
    migrate.downgrade(parted.engine, "0014_pre_time_limits")
    assert (tables_like(parted, "archived_jobs"), ids_in(parted, t.archived_jobs)) == (
        ["archived_jobs"],
        [*january, *february, *other],
    )
    migrate.upgrade(parted.engine)
    assert months(parted) == ["archived_jobs_until_2030_10"]  # after the youngest that there is
    assert in_partition(parted, months(parted)[0]) == [*january, *february, *other]
    with parted.engine.connect() as tx:
        after = tx.execute(sa.select(t.archived_jobs).order_by(t.archived_jobs.c.pandaid)).all()
    assert after[1:] == before
    assert make(parted, datetime(2030, 10, 1, tzinfo=UTC)) == 1


def test_an_archive_without_partitions_is_left_alone(engine: sa.Engine) -> None:
    if engine.dialect.name == "postgresql":
        migrate.downgrade(engine, "0014_pre_time_limits")
    now = datetime(2040, 1, 1, tzinfo=UTC)
    with engine.begin() as tx:
        assert not archive_partitions.exist(tx)
        assert not archive_partitions.make_next(tx, until=now)
        assert not archive_partitions.detach_oldest(tx, before=now)
        assert archive.forget_detached(tx, limit=9) == 0


def test_months_that_a_question_is_not_about_are_left_out(parted: World) -> None:
    with parted.engine.connect() as tx:
        statement = sa.select(all_jobs.c.pandaid).where(all_jobs.c.modified_at >= START)
        compiled = statement.compile(parted.engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(line for (line,) in tx.exec_driver_sql(f"EXPLAIN {compiled}"))
    read = {name for name in [*months(parted), archive_partitions.OTHER] if f" on {name}" in plan}
    assert read == {*(f"archived_jobs_2030_{month:02}" for month in (1, 2, 3, 4)), archive_partitions.OTHER}
