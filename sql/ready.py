"""Statements of the hot path: made once, and on PostgreSQL and SQLite run by the driver itself.

SQLAlchemy writes the statement and converts its values, as everywhere; but what it does for each execution costs a
request as much again as the driver and the network together (docs/performance.md). So here a statement is compiled
when it is first run, prepared by the connection that runs it, and its rows come as named tuples. Other databases get
it as usual.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from . import bulk

_Convert = Callable[[Any], Any]

#: Parameters that are no caller's, such as the states that a statement names.
_OWN = object()


class Ready:
    """A statement that is run often and returns rows. Its parameters have fixed names and are no expanding lists."""

    def __init__(self, statement: sa.Select[Any] | sa.sql.dml.UpdateBase) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def all(self, tx: sa.Connection, given: Mapping[str, Any]) -> list[Any]:
        """Run it; returns the rows, with a name for each column. Raises what `Connection.execute` does."""
        name = tx.dialect.name
        if name not in _RUN:
            return list(tx.execute(self._statement, given))
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = _Compiled(self._statement, name)
        return compiled.rows(tx, given)

    def first(self, tx: sa.Connection, given: Mapping[str, Any]) -> Any:
        """Run it; returns the first row, or None."""
        rows = self.all(tx, given)
        return rows[0] if rows else None


class ReadyAmong:
    """A `Ready` statement for the rows whose column has one of the values of a list."""

    def __init__(self, statement: sa.Select[Any], column: sa.ColumnElement[Any]) -> None:
        self._in_one = Ready(statement.where(bulk.among_given(column, "among")))
        self._in_many = statement.where(column.in_(sa.bindparam("among", expanding=True)))

    def all(self, tx: sa.Connection, values: Sequence[Any]) -> Sequence[Any]:
        """Run it for these values; returns the rows. Raises what `Connection.execute` does."""
        given = {"among": list(values)}
        if tx.dialect.name == "postgresql":
            return self._in_one.all(tx, given)
        return tx.execute(self._in_many, given).all()


class _Compiled:
    """The statement in one database's words, with what turns its values into the driver's and back."""

    def __init__(self, statement: Any, name: str) -> None:
        dialect = _postgresql() if name == "postgresql" else _sqlite()
        self._run = _RUN[name]
        compiled = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._parameters = [_parameter(name, compiled.binds[name], dialect) for name in compiled.positiontup]
        columns = list(getattr(statement, "exported_columns", ()))
        self._row: Any = namedtuple("Row", [column.key for column in columns])  # type: ignore[misc]
        back = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._back: list[tuple[int, _Convert]] = [(at, convert) for at, convert in enumerate(back) if convert]

    def rows(self, tx: sa.Connection, given: Mapping[str, Any]) -> list[Any]:
        values = [
            own if own is not _OWN else convert(given[name]) if convert else given[name]
            for name, convert, own in self._parameters
        ]
        return [self._made(row) for row in self._run(tx, self._text, values)]

    def _made(self, values: Sequence[Any]) -> Any:
        if not self._back:
            return self._row._make(values)
        changed = list(values)
        for at, convert in self._back:
            changed[at] = convert(changed[at])
        return self._row._make(changed)


def _parameter(name: str, bind: Any, dialect: Any) -> tuple[str, _Convert | None, Any]:
    """The name of a parameter, its conversion, and its value if no caller gives it."""
    convert: _Convert | None = bind.type.dialect_impl(dialect).bind_processor(dialect)
    if bind.required:
        return name, convert, _OWN
    return name, None, convert(bind.effective_value) if convert else bind.effective_value


def _postgresql() -> Any:
    from sqlalchemy.dialects.postgresql.psycopg import dialect

    # The driver would look for its own kind of parameters in every text anew; these it hands on as they are.
    made: Any = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    made.server_version_info = (13,)
    return made


def _sqlite() -> Any:
    from sqlalchemy.dialects.sqlite.pysqlite import dialect

    return dialect(paramstyle="qmark")


def _run_sqlite(tx: sa.Connection, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    from sqlite3 import Error

    connection: Any = tx.connection.driver_connection
    cursor = connection.cursor()
    try:
        for listener in _watchers(tx):
            text, values = listener(tx, cursor, text, values, None, False)
        return list(cursor.execute(text, values))
    except Error as error:
        raise sa.exc.DBAPIError.instance(text, None, error, Error, dialect=tx.dialect) from error
    finally:
        cursor.close()


def _run_postgresql(tx: sa.Connection, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    from psycopg import Error, RawCursor

    connection: Any = tx.connection.driver_connection
    dialect: Any = tx.dialect
    try:
        with RawCursor(connection) as cursor:
            for listener in _watchers(tx):
                text, values = listener(tx, cursor, text, values, None, False)
            cursor.execute(text, values, prepare=True)
            return cursor.fetchall()
    except Error as error:
        is_lost = dialect.is_disconnect(error, connection, None)
        if is_lost:
            tx.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            text, None, error, Error, connection_invalidated=is_lost, dialect=dialect
        ) from error


def _watchers(tx: sa.Connection) -> Any:
    """Tracers, say, which see statements by SQLAlchemy's event."""
    return tx.dispatch.before_cursor_execute


#: How the driver of each database is asked; its errors become the ones that callers know.
_RUN: dict[str, Callable[[sa.Connection, str, Sequence[Any]], list[tuple[Any, ...]]]] = {
    "postgresql": _run_postgresql,
    "sqlite": _run_sqlite,
}
