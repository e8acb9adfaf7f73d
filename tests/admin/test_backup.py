"""Backups that are made while everybody works, and what is restored from them (F40)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from own_postgres import OwnPostgres, own_postgres
from patience import eventually
from world import World

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.errors import Invalid
from bamboo.core.settings import ServerSection, Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.sql import backups, migrate
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine

Operator = Callable[..., Any]
N_JOBS = 3


@contextmanager
def working(url: str) -> Iterator[Callable[[], int]]:
    """Somebody who enters tasks, each with its jobs in one transaction; gives how many there are by now."""
    engine, stop, made = open_engine(url), threading.Event(), [0]
    world = World(engine, ManualClock(utc_now())).start(100_000)

    def work() -> None:
        while not stop.is_set():
            with engine.begin() as tx:
                world.generate_in(tx, N_JOBS)
            made[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        eventually(lambda: made[0] > 3, "work")
        yield lambda: made[0]
    finally:
        stop.set()
        thread.join()
        engine.dispose()


def check(engine: sa.Engine, at_least: int, at_most: int) -> None:
    """Whether a copy is whole: each transaction is in it with all that it wrote, or not at all."""
    assert migrate.check(engine) == []
    with engine.connect() as tx:
        n_jobs = tx.scalar(sa.select(sa.func.count()).select_from(t.jobs))
        n_files = tx.scalar(sa.select(sa.func.count()).select_from(t.job_files))
        n_events = tx.scalar(sa.select(sa.func.count()).select_from(t.job_events))
        taken = tx.scalar(sa.select(sa.func.count()).select_from(t.files).where(t.files.c.pandaid.is_not(None)))
    assert n_jobs is not None
    assert at_least * N_JOBS <= n_jobs <= at_most * N_JOBS
    assert (n_jobs % N_JOBS, n_files, n_events, taken) == (0, 3 * n_jobs, n_jobs, n_jobs)


def test_sqlite_is_copied_while_others_write(
    operator: Operator, sqlite_url: str, tmp_path: Path, open_database: Callable[[str], sa.Engine]
) -> None:
    target = tmp_path / "copies" / "bamboo.db"
    target.parent.mkdir()
    with working(sqlite_url) as made:
        for _ in range(2):
            before = made()
            assert operator("db", "backup", target).error is None
            assert list(target.parent.iterdir()) == [target]
            copy = open_database(f"sqlite:///{target}")
            with copy.connect() as tx:
                assert tx.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
            check(copy, before, made() + 1)
            copy.dispose()
            for path in target.parent.iterdir():
                path.unlink()


def test_postgres_says_what_to_use(open_database: Callable[[str], sa.Engine], postgres_url: str) -> None:
    with pytest.raises(Invalid, match="pg_dump --format=custom"):
        backups.copy_sqlite(open_database(postgres_url), Path("/nowhere"))


@pytest.fixture(scope="module")
def database() -> Iterator[OwnPostgres]:
    with own_postgres() as database:
        yield database


def libpq(url: str, name: str = "postgres") -> str:
    plain = sa.make_url(url).set(drivername="postgresql", database=name)
    return plain.render_as_string(hide_password=False)


def test_postgres_is_dumped_while_others_write(
    database: OwnPostgres, tmp_path: Path, open_database: Callable[[str], sa.Engine]
) -> None:
    """The commands of docs/operations.md."""
    dump = str(tmp_path / "bamboo.dump")
    with working(database.url) as made:
        before = made()
        database.tool("pg_dump", "--format=custom", f"--file={dump}", libpq(database.url))
        after = made() + 1
    database.tool("psql", "--quiet", "--command=CREATE DATABASE restored", libpq(database.url))
    database.tool("pg_restore", "--exit-on-error", f"--dbname={libpq(database.url, 'restored')}", dump)
    check(open_database(libpq(database.url, "restored")), before, after)


@pytest.fixture
def restored(operator: Operator, sqlite_url: str, tmp_path: Path) -> Iterator[Any]:
    """A world whose database was copied, worked with, and replaced by its copy; and the API over that."""
    engine = open_engine(sqlite_url)
    world = World(engine, ManualClock(utc_now())).start(10)
    world.generate(2)
    copy = tmp_path / "copy.db"
    assert operator("db", "backup", copy).error is None
    world.generate(3)
    lost = world.move(world.claim(5), JobState.RUNNING)
    engine.dispose()
    for path in tmp_path.glob("bamboo.db*"):
        path.unlink()
    copy.rename(tmp_path / "bamboo.db")
    assert operator("db", "restored").out.startswith("2 waiting jobs begin a new attempt")
    engine = open_engine(sqlite_url)
    section = ServerSection(cache_dir=tmp_path / "cache", collect_seconds=0)
    yield (
        World(engine, world.clock, world.jeditaskid, world.datasetids),
        lost,
        create_app(Settings(server=section), engine, world.clock).test_client(),
    )
    engine.dispose()


def test_pilots_from_the_lost_time_are_fenced(restored: Any) -> None:
    """They took jobs after the backup: those that are there are somebody else's now, the others nobody's."""
    world, lost, client = restored

    def report(pandaid: int, attempt_nr: int, status: str = "running") -> Any:
        body = {"job_id": pandaid, "attempt_nr": attempt_nr, "job_status": status}
        return client.post("/api/v1/pilot/update_job", json=body).json

    new = world.claim(2) + [job for pandaid in world.generate(3) for job in world.claim(1) if job.pandaid == pandaid]
    assert len(new) == 5
    known = {job.pandaid for job in lost} & {job.pandaid for job in new}
    assert len(known) == 2
    for job in lost:
        for status in ("running", "finished"):
            told = report(job.pandaid, job.attempt_nr, status)
            assert told["success"] is False and told["status"] in (404, 409), told
    for job in new:
        assert report(job.pandaid, job.attempt_nr)["success"]
    assert {row.status for row in world.jobs().values()} == {"running"}


def test_inputs_are_accounted_for_once_after_it(restored: Any) -> None:
    world, _, _ = restored
    held = world.move(world.claim(2), JobState.RUNNING)
    assert len(world.book(world.move(held, JobState.HOLDING))) == 2
    assert sorted(row.status for row in world.inputs().values()).count("finished") == 2
    assert world.miscounted() == {}
