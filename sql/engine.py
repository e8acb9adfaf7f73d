"""One way to open the database, for everybody: what a transaction means is decided here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event

if TYPE_CHECKING:
    from .silence import Line

#: Durable enough with WAL, and LIKE as strict as it is elsewhere.
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "cache_size=-16000",
    "case_sensitive_like=ON",
)
#: How long a statement waits for SQLite's one writer before it gives up.
SQLITE_BUSY_SECONDS = 60
#: PostgreSQL ends a statement, and a forgotten transaction, after this long: an open transaction stops the
#: clean-up of the claim index, and claims slow down a hundredfold.
STATEMENT_SECONDS = 60
IDLE_TRANSACTION_SECONDS = 60
#: A machine of the database that vanished without a word is noticed after half a minute; the system's own figure is two
#: hours. Sockets of this machine need none of it, and libpq passes over it there.
NOTICES_SILENCE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds
}
#: A database that answers no new connection for so long is away.
CONNECT_SECONDS = 10
#: By the engine of transactions, the one for statements that are whole by themselves, with connections of its own:
#: to tell a connection each time that it needs no transaction, and does again, costs more than such a statement.
_singles: WeakKeyDictionary[sa.Engine, sa.Engine] = WeakKeyDictionary()
#: Part of a URL of PostgreSQL, as psycopg names it.
PREPARE_THRESHOLD = "prepare_threshold"
#: A connection that rested for longer is tried before it is used.
RESTED_SECONDS = 1.0


def open_engine(
    url: str | sa.URL,
    *,
    pool_size: int = 5,
    statement_seconds: int = STATEMENT_SECONDS,
    lock_seconds: int | None = None,
) -> sa.Engine:
    """The engine for a SQLAlchemy URL, set up so that `engine.begin()` is a real write transaction everywhere.

    SQLite gets `BEGIN IMMEDIATE`, WAL and foreign keys; PostgreSQL gets time-outs, that for locks (`lock_seconds`)
    being that for statements unless it is given. Raises `sqlalchemy.exc.ArgumentError` for a URL that cannot be read.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    options: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": pool_size,
    }
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
        limits = {
            "statement_timeout": statement_seconds * 1000,
            "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS * 1000,
            "lock_timeout": (statement_seconds if lock_seconds is None else lock_seconds) * 1000,
        }
        options["connect_args"] = {
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            **({} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_SECONDS}),
            **NOTICES_SILENCE,
            "application_name": "bamboo",
            **_prepare_threshold(parsed),
        }
        parsed = parsed.difference_update_query([PREPARE_THRESHOLD])
    engine = sa.create_engine(parsed, **options)
    _look_after_rested(engine)
    if engine.dialect.name == "postgresql":
        from .silence import Line

        line = Line(statement_seconds)
        _connect_by(line, engine)
        _connect_by(line, _open_single(engine, options))
    return engine


def _connect_by(line: Line, engine: sa.Engine) -> None:
    """Have connections opened that give up when the database says nothing."""

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, record: Any, given: list[Any], how: dict[str, Any]) -> Any:
        return line.connect(*given, **how)


def _open_single(engine: sa.Engine, options: dict[str, Any]) -> sa.Engine:
    without = sa.create_engine(engine.url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **options)
    _look_after_rested(without)
    _singles[engine] = without

    @event.listens_for(engine, "engine_disposed")
    def _disposed(disposed: sa.Engine) -> None:
        without.dispose()

    return without


def _prepare_threshold(url: sa.URL) -> dict[str, int | None]:
    """What a URL says of prepared statements: after how many uses psycopg prepares one, or `none` for never.

    Poolers that give each transaction another connection may not know what was prepared on the one before.
    """
    said = url.query.get(PREPARE_THRESHOLD)
    if said is None:
        return {}
    if said == "none":
        return {PREPARE_THRESHOLD: None}
    if not isinstance(said, str) or not said.isdecimal():
        raise sa.exc.ArgumentError(f"{PREPARE_THRESHOLD} is {said!r}: give a number, or `none` to prepare nothing")
    return {PREPARE_THRESHOLD: int(said)}


def _look_after_rested(engine: sa.Engine) -> None:
    """Try connections that have rested before they are used; the pool opens new ones for those that are dead.

    A connection that was in use just now is taken as it is: a round trip for each request is a fifth of a heartbeat.
    """

    @event.listens_for(engine, "checkin")
    def _rests(connection: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: Any, proxy: Any) -> None:
        since = record.info.get("rests_since")
        if since is not None and time.monotonic() - since > RESTED_SECONDS and not _answers(engine, connection):
            raise sa.exc.DisconnectionError("the database has closed this connection")


def _answers(engine: sa.Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # else Python's driver decides when a transaction begins
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("bamboo_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads: on SQLite it waits for no writer."""
    with engine.connect().execution_options(bamboo_reads=True) as tx, tx.begin():
        yield tx


@contextmanager
def single(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for one writing statement that is whole by itself: with no transaction around it on PostgreSQL.

    Elsewhere, where such a thing takes several statements, it is a transaction.
    """
    without = _singles.get(engine)
    with without.connect() if without is not None else engine.begin() as tx:
        yield tx


@contextmanager
def looking(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for one statement that only reads: with no transaction around it, which costs two round trips."""
    with single(engine) if engine.dialect.name == "postgresql" else reading(engine) as tx:
        yield tx


def spelled_out(column: sa.ColumnElement[Any], words: Iterable[str]) -> sa.ColumnElement[bool]:
    """The condition that a column has one of our own words, with these in the statement instead of its parameters.

    PostgreSQL keeps a plan for any parameters of a statement that comes often: that one cannot use an index of rows in
    certain states, as it does not know that the parameters will be these.
    """
    values: sa.BindParameter[Any] = sa.bindparam(
        None, [str(word) for word in words], type_=sa.String(), expanding=True, literal_execute=True
    )
    return column.in_(values)


def skip_locked(statement: sa.Select[Any]) -> sa.Select[Any]:
    """Lock the rows, passing over those that others hold (nothing to do on SQLite: there the transaction holds all)."""
    return statement.with_for_update(skip_locked=True)
