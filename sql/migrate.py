"""Bringing a database to the schema of this version, and saying whether it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ..core.errors import BadState, Unavailable


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


@cache
def head() -> str:
    """The revision that this version of the code needs; raises `Unavailable` when its files cannot be read now."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:  # so it is told by those who find no file, for whatever reason
        raise Unavailable("the migrations of this version cannot be read")
    return found


def current(engine: sa.Engine) -> str | None:
    """The revision at which the database is; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Bring the database to a revision; nothing happens when it is there. It may be interrupted and repeated.

    A file of SQLite that is made is for its owner and group alone.
    """
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        Path(str(engine.url.database)).touch(mode=0o640)
    with _migrating(engine) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(engine: sa.Engine, revision: str = "base") -> None:
    """Take the database back to an older revision; `base` leaves nothing of ours."""
    with _migrating(engine) as connection:
        command.downgrade(_config(connection), revision)


@contextmanager
def _migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that may rebuild tables.

    SQLite changes a table by making it anew, and to drop the old one would delete all rows that refer to it: foreign
    keys rest meanwhile, and are checked before the end.
    """
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            with connection.begin():
                yield connection
            return
        _pragma(connection, "foreign_keys=OFF")  # has no effect within a transaction
        try:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                if broken:
                    raise BadState(f"the migration would leave {len(broken)} rows that refer to nothing")
        finally:
            _pragma(connection, "foreign_keys=ON")


def _pragma(connection: sa.Connection, words: str) -> None:
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {words}")
    cursor.close()


def check(engine: sa.Engine) -> list[str]:
    """What is wrong with the database's schema, in words; empty when it is at head."""
    have, need = current(engine), head()
    if have == need:
        return []
    if have is None:
        return ["the database has no tables of ours: run `bamboo db upgrade`"]
    return [f"the database is at revision {have}, this version needs {need}: run `bamboo db upgrade`"]
