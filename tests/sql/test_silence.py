"""A PostgreSQL server that says nothing: who waits for it, and for how long."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa
from patience import eventually

from bamboo.sql import silence
from bamboo.sql.engine import looking, open_engine
from bamboo.sql.silence import Line


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(silence, "SPARE_SECONDS", 0.2)


@pytest.fixture
def pg_engine(postgres_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(postgres_url, statement_seconds=1)
    yield engine
    engine.dispose()


def test_a_slow_statement_is_waited_for(pg_engine: sa.Engine) -> None:
    """Somebody there speaks, as new connections show: these are not kept."""
    with pg_engine.connect() as tx:
        mine = tx.scalar(sa.select(sa.func.pg_backend_pid()))
        tx.execute(sa.select(sa.func.pg_sleep(0.8)))
        assert tx.scalar(sa.select(sa.func.pg_backend_pid())) == mine
        others = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        eventually(lambda: tx.scalar(others) == 0, "the connections to be closed that were opened to look")


def test_one_process_that_stands_still_is_given_up(pg_engine: sa.Engine) -> None:
    """The others answer, so that only the limit of statements tells."""
    with looking(pg_engine) as tx:
        stopped = int(tx.scalar(sa.select(sa.func.pg_backend_pid())))
        os.kill(stopped, signal.SIGSTOP)
        try:
            with pytest.raises(sa.exc.OperationalError, match="said nothing") as told:
                tx.scalar(sa.select(1))
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert told.value.connection_invalidated
    with looking(pg_engine) as tx:
        assert tx.scalar(sa.select(sa.func.pg_backend_pid())) != stopped


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of somebody who takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"host=127.0.0.1 port={listening.getsockname()[1]} connect_timeout=2"


def test_one_at_a_time_asks_a_silent_server(mute: str, postgres_url: str) -> None:
    line = Line(60)
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        line.connect(mute)
    refused: list[str] = []

    def second() -> bool:
        with pytest.raises(psycopg.OperationalError) as told:
            line.connect(mute)
        refused.append(str(told.value))
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda _: second(), range(4)))
    assert sorted("another thread waits" in words for words in refused) == [False, True, True, True]
    url = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    line.connect(url).close()
    assert not line.was_silent
