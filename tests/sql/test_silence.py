"""A PostgreSQL server that says nothing: who waits for it, and for how long."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually

from bamboo.admin.chaos.proxy import Proxy, Weather, database_behind
from bamboo.sql import silence
from bamboo.sql.engine import looking, open_engine
from bamboo.sql.silence import Attentive, Line


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(silence, "STILL_SECONDS", 0.2)
    monkeypatch.setattr(silence, "SPARE_SECONDS", 0.2)


@pytest.fixture
def pg_engine(postgres_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(postgres_url, statement_seconds=1)
    yield engine
    engine.dispose()


@pytest.fixture
def line() -> Line:
    return Line(PATIENCE_SECONDS)


@pytest.fixture
def open_connection(line: Line, postgres_url: str) -> Iterator[Callable[[], Attentive]]:
    """Opens connections of the line, and closes them at the end."""
    opened: list[Attentive] = []

    def _open() -> Attentive:
        made = line.connect(for_psycopg(postgres_url), autocommit=True)
        assert isinstance(made, Attentive)
        opened.append(made)
        return made

    yield _open
    for connection in opened:
        connection.close()


def for_psycopg(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def threads_of(what: str) -> int:
    return sum(thread.name == f"silence {what}" for thread in threading.enumerate())


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


@dataclass
class Mute:
    """Somebody who takes connections, and says nothing."""

    listening: socket.socket

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.listening.getsockname()[1]} connect_timeout=2"


@pytest.fixture
def mute() -> Iterator[Mute]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Mute(listening)


def test_one_at_a_time_asks_a_silent_server(line: Line, mute: Mute, open_connection: Callable[[], Attentive]) -> None:
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        line.connect(mute.address)
    refused: list[str] = []

    def second() -> bool:
        with pytest.raises(psycopg.OperationalError) as told:
            line.connect(mute.address)
        refused.append(str(told.value))
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda _: second(), range(4)))
    assert sorted("another thread waits" in words for words in refused) == [False, True, True, True]
    open_connection()
    assert not line.was_silent


def test_who_gets_no_answer_heeds_that_another_got_one(
    line: Line, mute: Mute, open_connection: Callable[[], Attentive]
) -> None:
    """The server spoke after the one had begun to ask: nobody may be refused."""
    with ThreadPoolExecutor(1) as threads:
        unlucky = threads.submit(line.connect, mute.address)
        taken, _ = mute.listening.accept()
        with taken:
            open_connection()
            assert isinstance(unlucky.exception(PATIENCE_SECONDS), psycopg.errors.ConnectionTimeout)
    assert not line.was_silent
    open_connection()


def test_silence_of_before_ends_no_statement(line: Line, mute: Mute, open_connection: Callable[[], Attentive]) -> None:
    """Nobody has asked since: this is done before somebody is given up."""
    connection = open_connection()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        line.connect(mute.address)
    assert line.was_silent
    connection.execute("SELECT pg_sleep(1)")
    assert not line.was_silent


def _select(connection: Attentive) -> None:
    connection.execute("SELECT 1")


def _commit(connection: Attentive) -> None:
    connection.execute("BEGIN")
    connection.commit()


def _copy_in(connection: Attentive) -> None:
    with connection.cursor().copy("COPY numbers FROM STDIN") as copy:
        for number in range(1000):
            copy.write_row((number,))


def _copy_out(connection: Attentive) -> None:
    with connection.cursor().copy("COPY (SELECT generate_series(1, 100000)) TO STDOUT") as copy:
        for _ in copy:
            pass


@pytest.fixture
def network(postgres_url: str) -> Iterator[tuple[Proxy, str]]:
    proxy, url = database_behind(postgres_url)
    yield proxy, for_psycopg(url)
    proxy.stop()


def test_all_who_wait_are_told_whatever_they_do(line: Line, network: tuple[Proxy, str]) -> None:
    """So are those who ask the silent server afterwards; it is used again as soon as it speaks."""
    proxy, url = network
    asked = [_select, _commit, _copy_in, _copy_out, _select]
    connections = [line.connect(url, connect_timeout=2, autocommit=True) for _ in asked]
    late = line.connect(url, connect_timeout=PATIENCE_SECONDS, autocommit=True)
    late.execute("CREATE TABLE numbers (number int)")
    proxy.change(Weather.HELD)
    with ThreadPoolExecutor(len(asked)) as threads:
        told = [threads.submit(ask, connection) for ask, connection in zip(asked, connections, strict=True)]
        for one in told:
            assert isinstance(one.exception(PATIENCE_SECONDS), psycopg.OperationalError)
            assert "said nothing for" in str(one.exception())
    assert line.was_silent
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="said nothing"):
        late.execute("SELECT 1")
    assert time.monotonic() - began < line.limit_seconds
    assert all(connection.closed for connection in [*connections, late])
    assert line.waiting == set()
    proxy.change(Weather.FAIR)

    def is_back() -> bool:
        try:
            line.connect(url).close()
        except psycopg.OperationalError:  # another thread asks still
            return False
        return True

    eventually(is_back, "the server to be used again")
    assert not line.was_silent


def test_no_note_is_left_and_no_thread(line: Line, open_connection: Callable[[], Attentive]) -> None:
    """However many wait, one thread looks after them, and another asks now and then; afterwards none is there."""
    eventually(lambda: threads_of("watch") == 0, "those of other tests to be over", 5)
    seen: list[int] = []
    connections = [open_connection() for _ in range(6)]
    with ThreadPoolExecutor(len(connections)) as threads:
        slow = [threads.submit(connection.execute, "SELECT pg_sleep(1)") for connection in connections]
        while not all(one.done() for one in slow):
            line.watch()
            seen.append(threads_of("watch"))
        assert [one.exception() for one in slow] == [None] * len(connections)
    assert max(seen) == 1
    for statement, error in (
        ("SELECT 1 / 0", psycopg.errors.DivisionByZero),
        ("SET statement_timeout = 1; SELECT pg_sleep(9)", psycopg.errors.QueryCanceled),
        ("SELECT pg_terminate_backend(pg_backend_pid())", psycopg.OperationalError),
    ):
        with pytest.raises(error) as told:
            connections[0].execute(statement)
        assert "said nothing" not in str(told.value)
    assert line.waiting == set()
    eventually(lambda: threads_of("watch") + threads_of("ask") == 0, "nobody to be left who looks")
    assert not line.is_watched


def test_a_statement_needs_no_thread(
    line: Line, open_connection: Callable[[], Attentive], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be too many for one more; the next statement tries again."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    connection = open_connection()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        connection.execute("SELECT 1")
        assert not line.is_watched
    connection.execute("SELECT 1")
    assert line.is_watched


def test_only_the_socket_of_the_statement_is_shut(line: Line, open_connection: Callable[[], Attentive]) -> None:
    """Not that of a connection which has got the number of the one before; nor when the statement has ended."""
    before, after = open_connection(), open_connection()
    number = before.pgconn.socket
    before.close()
    os.dup2(after.pgconn.socket, number)
    line.waiting.add((before, 1.0))
    before.give_up(1.0)
    assert after.execute("SELECT 1").fetchall() == [(1,)]
    assert line.waiting == {(before, 1.0)}
    os.close(number)
    before.give_up(1.0)
    line.waiting.clear()
    after.give_up(1.0)
    assert after.execute("SELECT 1").fetchall() == [(1,)]
    line.waiting.add((after, 1.0))
    after.give_up(1.0)
    with pytest.raises(psycopg.OperationalError):
        after.execute("SELECT 1")


def test_an_answer_of_the_last_moment_counts(line: Line, open_connection: Callable[[], Attentive]) -> None:
    """The connection is cut all the same, and nobody gets it again."""

    def answered() -> Generator[None, None, str]:
        line.waiting.clear()
        return "answer"
        yield

    connection = open_connection()
    assert connection.wait(answered()) == "answer"
    assert connection.closed


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_looks_after_its_own(pg_engine: sa.Engine) -> None:
    """The thread is not in the fork, the notes of others are nobody's, and locks may have been held by others."""
    with pg_engine.connect() as tx, ThreadPoolExecutor(1) as threads:
        line = tx.connection.driver_connection.line  # type: ignore[union-attr]
        slow = threads.submit(tx.execute, sa.select(sa.func.pg_sleep(0.8)))
        eventually(lambda: line.waiting and line.is_watched, "the statement to be looked after")
        reader, writer = os.pipe()
        with line._lock, line._asking:
            child = os.fork()
        if child == 0:
            try:
                signal.alarm(PATIENCE_SECONDS)
                pg_engine.dispose(close=False)
                os.write(writer, f"{len(line.waiting)} waiting".encode())
                test_one_process_that_stands_still_is_given_up(pg_engine)
                os.write(writer, b", told")
            finally:
                os._exit(0)
        os.close(writer)
        slow.result()
    os.waitpid(child, 0)
    said = b""
    while select.select([reader], [], [], 0)[0] and (more := os.read(reader, 100)):
        said += more
    os.close(reader)
    assert said == b"0 waiting, told"
