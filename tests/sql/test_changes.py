"""Seeing that nothing was written is what lets an idle system rest: to miss a change would leave work undone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually

from bamboo.core.clock import ManualClock
from bamboo.sql import queues
from bamboo.sql.changes import ChangeWatch

WRITER = """
import sys
from bamboo.core.clock import utc_now
from bamboo.sql import queues
from bamboo.sql.engine import open_engine
with open_engine(sys.argv[1]).begin() as tx:
    queues.set_queue(tx, "ELSEWHERE", {}, now=utc_now())
"""


@pytest.fixture
def watch(engine: sa.Engine) -> Iterator[ChangeWatch]:
    watching = ChangeWatch(engine)
    yield watching
    watching.close()


def test_what_is_committed_is_seen_and_what_is_undone_or_read_is_not_needed(
    engine: sa.Engine, clock: ManualClock, watch: ChangeWatch
) -> None:
    assert not watch.unchanged(), "the first look knows nothing"
    eventually(watch.unchanged, "the database to be quiet")
    with engine.begin() as tx:
        queues.list_queues(tx)
    eventually(watch.unchanged, "the database to be quiet")
    for number in range(3):
        with engine.begin() as tx:
            queues.set_queue(tx, f"Q{number}", {}, now=clock())
        assert not watch.unchanged()
        eventually(watch.unchanged, "the database to be quiet")


def test_what_another_process_writes_is_seen(watch: ChangeWatch, database_url: str) -> None:
    eventually(watch.unchanged, "the database to be quiet")
    subprocess.run([sys.executable, "-c", WRITER, database_url], check=True, timeout=PATIENCE_SECONDS)
    assert not watch.unchanged()


def test_a_transaction_that_ends_after_the_look_is_seen(
    engine: sa.Engine, clock: ManualClock, watch: ChangeWatch
) -> None:
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {}, now=clock())
        watch.unchanged()
        watch.unchanged()
    assert not watch.unchanged()


def test_a_connection_that_was_lost_is_opened_again(
    engine: sa.Engine, clock: ManualClock, watch: ChangeWatch, cut_connection: Callable[[], None]
) -> None:
    """Until then nothing is taken for granted."""
    eventually(watch.unchanged, "the database to be quiet")
    cut_connection()
    assert not watch.unchanged()
    eventually(watch.unchanged, "the database to be quiet")


@pytest.fixture
def cut_connection(engine: sa.Engine, watch: ChangeWatch) -> Callable[[], None]:
    """Cuts the watch's connection: on PostgreSQL from the other side, as a restart of the server does."""

    def _cut() -> None:
        if engine.dialect.name == "sqlite":
            assert watch._connection is not None and watch._connection.dbapi_connection is not None
            watch._connection.dbapi_connection.close()
            return
        others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        with engine.connect() as tx:
            tx.exec_driver_sql(f"{others} AND pid <> pg_backend_pid()")

    return _cut
