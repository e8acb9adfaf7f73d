"""Databases to measure on: new ones at the newest schema, on a real server from the pip extra or at a URL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bamboo.admin.system import embedded_postgres
from bamboo.sql import migrate
from bamboo.sql.engine import open_engine

#: What is told of a PostgreSQL server beside its figures.
TOLD = ("server_version", "shared_buffers", "synchronous_commit", "fsync", "max_wal_size", "autovacuum")
#: As long as the tables are filled, checkpoints would come every few seconds with the default of 1 GB.
MAX_WAL = "4GB"


@dataclass(frozen=True)
class Databases:
    """A place where databases can be made: a PostgreSQL server, or a folder for SQLite."""

    server: sa.URL | None
    folder: Path
    server_pid: int = 0  #: of PostgreSQL, when it was started here

    @contextmanager
    def new(self) -> Iterator[str]:
        """The URL of a database with the schema and nothing else, removed at the end."""
        name = f"bamboo_bench_{uuid.uuid4().hex[:12]}"
        if self.server is None:
            path = self.folder / f"{name}.db"
            url = f"sqlite:///{path}"
            _upgrade(url)
            yield url
            for part in self.folder.glob(f"{name}.db*"):
                part.unlink()
            return
        maintain(self.server, f'CREATE DATABASE "{name}"')
        try:
            url = self.server.set(database=name).render_as_string(hide_password=False)
            _upgrade(url)
            yield url
        finally:
            maintain(self.server, f'DROP DATABASE "{name}" WITH (FORCE)')

    def facts(self) -> dict[str, Any]:
        """The kind of database, its version and settings."""
        if self.server is None:
            import sqlite3

            return {"kind": "sqlite", "server_version": sqlite3.sqlite_version}
        engine = sa.create_engine(self.server, poolclass=sa.pool.NullPool)
        with engine.connect() as tx:
            told = {name: str(tx.exec_driver_sql(f"SHOW {name}").scalar()) for name in TOLD}
        return {"kind": "postgresql", **told}


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Databases]:
    """Where to make databases: `postgres` starts a server of its own, `sqlite` takes files, else the URL of a server.

    At a URL, the user must be allowed to create databases.
    """
    if kind == "sqlite":
        yield Databases(None, folder)
    elif kind == "postgres":
        with embedded_postgres(folder / "postgres") as url:
            maintain(sa.make_url(url), f"ALTER SYSTEM SET max_wal_size = '{MAX_WAL}'")
            maintain(sa.make_url(url), "SELECT pg_reload_conf()")
            pid = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
            yield Databases(sa.make_url(url), folder, pid)
    else:
        yield Databases(sa.make_url(kind).set(drivername="postgresql+psycopg"), folder)


def maintain(server: sa.URL, statement: str) -> None:
    """Run a statement that no transaction may hold."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def settle(url: str) -> None:
    """Have the database do now what it would do in the midst of a measurement after so many rows are new."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        maintain(parsed, "VACUUM ANALYZE")
        maintain(parsed, "CHECKPOINT")
    else:
        engine = open_engine(parsed)
        with engine.connect() as tx:
            tx.exec_driver_sql("ANALYZE")
            tx.commit()
        engine.dispose()


def _upgrade(url: str) -> None:
    engine = open_engine(url, pool_size=1)
    migrate.upgrade(engine)
    engine.dispose()
