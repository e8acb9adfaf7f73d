"""The schema: the migrations make it, on every database, and it compiles for all four dialects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import mysql, oracle, postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from world import World

from bamboo.sql import migrate, views
from bamboo.sql.tables import FIRST_TASK_ID, events, files, metadata, tasks
from bamboo.sql.views import all_jobs


def test_the_migrations_make_the_tables(postgres_url: str, open_database: Callable[[str], sa.Engine]) -> None:
    """On PostgreSQL: SQLite reports indexes with DESC wrongly. Partitions are what their table is."""

    def is_whole(name: str | None, kind: str, parents: Any) -> bool:
        return kind != "table" or not str(name).startswith("archived_jobs_")

    with open_database(postgres_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_whole})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_store_the_tables_as_they_say(
    postgres_url: str, open_database: Callable[[str], sa.Engine]
) -> None:
    """How full pages are made, and when vacuum follows: alembic does not compare it."""
    options = "SELECT relname, unnest(reloptions) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    have: dict[str, dict[str, str]] = {}
    with open_database(postgres_url).connect() as connection:
        for table, option in connection.exec_driver_sql(options):
            name, _, value = option.partition("=")
            have.setdefault(table, {})[name] = value
    declared = {table.name: dict(table.dialect_options["postgresql"]["with"] or {}) for table in metadata.sorted_tables}
    assert {table: given for table, given in declared.items() if given} == have


def test_the_view_of_all_jobs_has_their_columns(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        have = [column["name"] for column in sa.inspect(connection).get_columns(all_jobs.name)]
    assert sorted(have) == sorted(all_jobs.c.keys())


def test_a_migration_may_change_the_columns_of_jobs(engine: sa.Engine) -> None:
    """SQLite renames no table that a view is in the way of, PostgreSQL changes no column; and a new one must show."""
    with engine.begin() as connection:
        with views.rebuilt(connection):
            for table in ("jobs", "archived_jobs"):
                connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO elsewhere")
                connection.exec_driver_sql(f"ALTER TABLE elsewhere RENAME TO {table}")
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN new_one INTEGER")
        assert connection.exec_driver_sql("SELECT new_one FROM all_jobs").all() == []


def test_a_database_goes_down_to_nothing_and_up_again(engine: sa.Engine) -> None:
    assert migrate.check(engine) == []
    migrate.downgrade(engine)
    assert migrate.check(engine) == ["the database has no tables of ours: run `bamboo db upgrade`"]
    migrate.upgrade(engine)
    assert migrate.check(engine) == []


def test_rows_outlive_a_table_that_is_made_anew(engine: sa.Engine, world: World) -> None:
    """SQLite makes a table anew to change it; what refers to its rows must not go with the old one."""
    world.start(3)
    with engine.begin() as tx:
        fileid, datasetid = tx.execute(sa.select(files.c.fileid, files.c.datasetid).limit(1)).one()
        part = {"jeditaskid": world.jeditaskid, "datasetid": datasetid, "fileid": fileid, "status": "ready"}
        tx.execute(sa.insert(events).values(first_event=0, last_event=9, **part))
    migrate.downgrade(engine, "0006_pre_queue_import")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        counts = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in ("files", "events")}  # noqa: S608
        keys = engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
    assert counts == {"files": 3, "events": 1}
    assert keys == (engine.dialect.name == "sqlite")


@pytest.mark.parametrize(
    "dialect", [sqlite, postgresql, mysql, oracle], ids=lambda module: module.__name__.rpartition(".")[2]
)
def test_the_schema_compiles_for_each_dialect(dialect: object) -> None:
    compiled = [
        str(statement.compile(dialect=dialect.dialect()))  # type: ignore[attr-defined]
        for table in metadata.sorted_tables
        for statement in (CreateTable(table), *(CreateIndex(index) for index in table.indexes))
    ]
    assert len(compiled) > len(metadata.tables)
    assert all(text.strip().startswith("CREATE") for text in compiled)


def test_task_ids_start_where_pbook_expects_them(engine: sa.Engine, submit_row: Callable[[sa.Connection], int]) -> None:
    with engine.begin() as tx:
        assert submit_row(tx) == FIRST_TASK_ID
        assert submit_row(tx) == FIRST_TASK_ID + 1
        assert tx.scalar(sa.select(sa.func.count()).select_from(tasks)) == 2


def test_a_state_that_is_in_no_table_is_refused(engine: sa.Engine, submit_row: Callable[[sa.Connection], int]) -> None:
    with engine.begin() as tx:
        jeditaskid = submit_row(tx)
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as tx:
        tx.execute(sa.update(tasks).where(tasks.c.jeditaskid == jeditaskid).values(status="sleeping"))


def test_whoever_opens_the_database_has_limits(postgres_url: str, open_database: Callable[[str], sa.Engine]) -> None:
    """A report that held a transaction for minutes made claims a hundred times as slow; what an operator set stays."""

    def limits() -> dict[str, str]:
        strangers = sa.create_engine(postgres_url, poolclass=sa.pool.NullPool)
        names = ("idle_in_transaction_session_timeout", "statement_timeout")
        with strangers.connect() as tx:
            return {name: str(tx.exec_driver_sql(f"SHOW {name}").scalar()) for name in names}

    engine = open_database(postgres_url)
    name = engine.url.database
    migrate.downgrade(engine, "0013_pre_settings_reasons")
    assert set(limits().values()) == {"0"}
    with engine.begin() as tx:
        tx.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET statement_timeout = '7s'")
    migrate.upgrade(engine)
    assert limits() == {"idle_in_transaction_session_timeout": "1min", "statement_timeout": "7s"}
