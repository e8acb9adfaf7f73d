"""What a transaction means, on each database; the database's clock; upgrades that break off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS
from world import World

from bamboo.core.clock import utc_now
from bamboo.sql import claims, migrate, queues
from bamboo.sql import clock as database_clock
from bamboo.sql import tables as t
from bamboo.sql.clock import DatabaseClock
from bamboo.sql.engine import open_engine, reading


class Undone(Exception):
    """Ends a transaction in the middle."""


def test_a_claim_that_is_rolled_back_has_not_been(world: World) -> None:
    (pandaid,) = world.start(1).generate(1)
    now = world.clock()
    with pytest.raises(Undone), world.engine.begin() as tx:
        assert len(claims.claim(tx, claims.Claim(queue="Q"), lease_until=now, now=now)) == 1
        raise Undone
    row = world.jobs()[pandaid]
    assert (row.status, row.lease_until) == ("activated", None)
    with world.engine.connect() as tx:
        assert tx.scalars(sa.select(t.job_events.c.new_status)).all() == ["activated"]


def test_writers_wait_for_each_other(engine: sa.Engine, at_once: Callable[..., Any]) -> None:
    """Each reads, then writes what follows from it: nobody's step is lost, and nobody is told that it is busy."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {"maxtime": 0}, now=now)

    def add(number: int) -> None:
        for _ in range(10):
            with engine.begin() as tx:
                row = tx.execute(sa.select(t.queues).with_for_update()).one()
                queues.set_queue(tx, "Q", {"maxtime": row.max_time_seconds + 1}, now=now)

    at_once(4, add)
    with reading(engine) as tx:
        assert queues.get_queue(tx, "Q").max_time_seconds == 40


def test_readers_do_not_wait_for_a_writer(engine: sa.Engine) -> None:
    seen: list[int] = []

    def read() -> None:
        with reading(engine) as tx:
            seen.append(len(queues.list_queues(tx)))

    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {}, now=utc_now())
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(PATIENCE_SECONDS)
        assert seen == [0]
    read()
    assert seen == [0, 1]


def test_a_foreign_key_is_kept(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as tx:
        tx.execute(sa.insert(t.queues).values(queue="Q", site="nowhere", attributes={}, modified_at=utc_now()))


def test_no_local_time_gets_in(engine: sa.Engine) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is what is refused
    with pytest.raises(sa.exc.StatementError, match="without a time zone"), engine.begin() as tx:
        queues.set_queue(tx, "Q", {}, now=naive)


def test_moments_come_back_as_they_were(engine: sa.Engine) -> None:
    east = utc_now().astimezone(tz=__import__("zoneinfo").ZoneInfo("Asia/Tokyo"))
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {}, now=east)
        kept = queues.get_queue(tx, "Q").modified_at
    assert kept == east
    assert kept.tzinfo is UTC


def test_a_query_that_takes_too_long_is_ended(postgres_url: str) -> None:
    engine = open_engine(postgres_url, statement_seconds=1)
    with pytest.raises(sa.exc.OperationalError, match="statement timeout"), engine.connect() as tx:
        tx.execute(sa.select(sa.func.pg_sleep(30)))
    engine.dispose()


def test_the_clock_is_the_databases(engine: sa.Engine) -> None:
    now = DatabaseClock(engine)
    first, second = now(), now()
    assert abs(first - utc_now()) < timedelta(seconds=5)
    assert first.tzinfo is UTC
    assert first < second


def test_the_clock_follows_the_database_whatever_the_machine_says(
    postgres_url: str, open_database: Callable[[str], sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's clock is a year behind: nobody notices. It asks again now and then, not at each look."""
    engine = open_database(postgres_url)
    monkeypatch.setattr(database_clock, "utc_now", lambda: utc_now() - timedelta(days=365))
    asked: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda c, cursor, statement, *rest: asked.append(statement))
    now = DatabaseClock(engine)
    with engine.connect() as tx:
        told = tx.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    asked.clear()
    assert abs(now() - told) < timedelta(seconds=5)
    for _ in range(50):
        now()
    assert len([statement for statement in asked if "CURRENT_TIMESTAMP" in statement.upper()]) == 1
    monkeypatch.setattr(database_clock, "RESYNC_SECONDS", 0)
    now()
    assert len([statement for statement in asked if "CURRENT_TIMESTAMP" in statement.upper()]) == 2


@pytest.fixture
def empty_engine(request: pytest.FixtureRequest, engine: sa.Engine) -> sa.Engine:
    """A database without our tables."""
    migrate.downgrade(engine)
    return engine


@pytest.mark.parametrize("n_statements", [1, 10, 40])
def test_an_upgrade_that_breaks_off_leaves_nothing_and_may_be_repeated(
    empty_engine: sa.Engine, n_statements: int
) -> None:
    left = n_statements

    def break_off(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        nonlocal left
        left -= statement.lstrip().startswith("CREATE")
        if left < 0:
            raise Undone

    sa.event.listen(empty_engine, "before_cursor_execute", break_off)
    with pytest.raises(Undone):
        migrate.upgrade(empty_engine)
    sa.event.remove(empty_engine, "before_cursor_execute", break_off)
    assert migrate.current(empty_engine) is None
    assert set(sa.inspect(empty_engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(empty_engine)
    assert migrate.check(empty_engine) == []
    migrate.upgrade(empty_engine)


def test_an_older_schema_is_told_with_what_to_do(engine: sa.Engine) -> None:
    with engine.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = 'old'"))
    assert migrate.check(engine) == [
        f"the database is at revision old, this version needs {migrate.head()}: run `bamboo db upgrade`"
    ]


def test_sqlite_makes_its_folder(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/deep/down/bamboo.db")
    migrate.upgrade(engine)
    engine.dispose()
    assert (tmp_path / "deep/down/bamboo.db").exists()


@pytest.mark.parametrize(("said", "n_prepared"), [("", 1), ("?prepare_threshold=2", 1), ("?prepare_threshold=none", 0)])
def test_the_url_says_whether_statements_are_prepared(
    postgres_url: str, open_database: Callable[[str], sa.Engine], said: str, n_prepared: int
) -> None:
    """A pooler that gives each transaction another connection may not know what was prepared on the one before."""
    engine = open_database(with_words(postgres_url, said))
    with reading(engine) as tx:
        for number in range(10):
            assert tx.execute(sa.select(sa.literal(number) + 1)).scalar_one() == number + 1
        prepared = "SELECT count(*) FROM pg_prepared_statements WHERE position('+' IN statement) > 0"
        assert tx.exec_driver_sql(prepared).scalar_one() == n_prepared


@pytest.mark.parametrize("said", ["often", "-1"])
def test_a_url_that_says_nothing_sensible_of_them_is_refused(postgres_url: str, said: str) -> None:
    with pytest.raises(sa.exc.ArgumentError, match="`none` to prepare nothing"):
        open_engine(with_words(postgres_url, f"?prepare_threshold={said}"))


def with_words(url: str, said: str) -> str:
    return sa.make_url(url).update_query_string(said.removeprefix("?")).render_as_string(hide_password=False)
