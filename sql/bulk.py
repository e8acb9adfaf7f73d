"""Many rows at once: COPY on PostgreSQL, one prepared statement for all of them elsewhere.

SQLAlchemy compiles and converts row by row; here each column's conversion is looked up once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY

_Convert = Callable[[Any], Any]

#: Up to here a plain INSERT costs less than the round trips of a COPY.
FEW = 16


def take_ids(tx: sa.Connection, column: sa.Column[int], n: int) -> list[int]:
    """`n` new values of a numbered primary key, in order, which nobody else gets.

    On SQLite the numbers are only reserved by the rows that are entered in the same transaction.
    """
    names = {"the_table": column.table.name, "the_column": column.name, "n": n}
    if tx.dialect.name == "postgresql":
        return sorted(tx.scalars(_NEXT_VALUES, names))
    last = tx.scalar(_LAST_VALUE, {"the_table": column.table.name}) or 0
    return list(range(last + 1, last + 1 + n))


_NEXT_VALUES = sa.text(
    "SELECT nextval(pg_get_serial_sequence(:the_table, :the_column)) FROM generate_series(1, :n) /* bulk.take_ids */"
)
_LAST_VALUE = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :the_table /* bulk.take_ids */")


def insert(tx: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Enter rows that all name the same columns; the others get what the database has as their default."""
    if len(rows) < FEW:
        if rows:
            tx.execute(sa.insert(table), list(rows))
        return
    columns = [table.c[name] for name in rows[0]]
    converted = _converted(tx.dialect, columns, rows)
    names = ", ".join(tx.dialect.identifier_preparer.format_column(column) for column in columns)
    into = f"{tx.dialect.identifier_preparer.format_table(table)} ({names})"
    if tx.dialect.name == "postgresql":
        _copy(tx, f"COPY {into} FROM STDIN", converted)
        return
    mark = "?" if tx.dialect.paramstyle == "qmark" else "%s"
    statement = f"INSERT INTO {into} VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608 - names of our own tables
    tx.exec_driver_sql(statement, converted)


def insert_new(tx: sa.Connection, table: sa.Table, key: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> int:
    """Enter rows, which all name the same columns, but for those whose key there is already; returns how many."""
    if not rows:
        return 0
    names = tuple(sorted(rows[0]))
    if tx.dialect.name == "postgresql":
        entered = tx.execute(_insert_new_of_all(table, key, names), as_lists(rows), execution_options=_COUNTED)
    else:
        entered = tx.execute(_insert_new_of_each(table, key, names), list(rows), execution_options=_COUNTED)
    return entered.rowcount


#: SQLAlchemy asks the driver only after updates by itself.
_COUNTED = {"preserve_rowcount": True}


@lru_cache
def _insert_new_of_all(table: sa.Table, key: tuple[str, ...], names: tuple[str, ...]) -> Any:
    columns = [table.c[name] for name in names]
    entered = postgresql.insert(table).from_select(columns, _chosen(columns))
    return entered.on_conflict_do_nothing(index_elements=key)


@lru_cache
def _insert_new_of_each(table: sa.Table, key: tuple[str, ...], names: tuple[str, ...]) -> Any:
    entered = sqlite.insert(table).values({name: sa.bindparam(name) for name in names})
    return entered.on_conflict_do_nothing(index_elements=key)


def _chosen(columns: Sequence[sa.Column[Any]]) -> sa.Select[Any]:
    rows = given(columns)
    return sa.select(*(rows.c[column.name] for column in columns))


def _copy(tx: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """COPY, which SQLAlchemy does not know; its errors become the ones that callers know."""
    errors: Any = tx.dialect.loaded_dbapi
    cursor: Any = tx.connection.cursor()
    try:
        with cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except errors.Error as error:
        raise sa.exc.DBAPIError.instance(statement, None, error, errors.Error, dialect=tx.dialect) from error


def _converted(
    dialect: sa.Dialect, columns: Sequence[sa.Column[Any]], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[Any, ...]]:
    """The rows as tuples of what the driver takes. Made a column at a time, most of which need no conversion."""
    made: list[Sequence[Any]] = []
    for column in columns:
        name = column.name
        convert: _Convert | None = column.type.dialect_impl(dialect).bind_processor(dialect)
        made.append(_all_converted(convert, [row[name] for row in rows]))
    return list(zip(*made, strict=True))


def _all_converted(convert: _Convert | None, values: Sequence[Any]) -> Sequence[Any]:
    if convert is None or not values:
        return values
    first = values[0]
    if all(value is first for value in values):  # the moment, say, that all rows are entered at
        return [convert(first)] * len(values)
    return [convert(value) for value in values]


def among(tx: sa.Connection, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """The condition that a column has one of these values: one parameter on PostgreSQL, however many they are."""
    if tx.dialect.name != "postgresql":
        return column.in_(values)
    return column == sa.any_(sa.bindparam(None, list(values), type_=_InOneText(column.type)))


class _InOneText(sa.types.TypeDecorator[Sequence[Any]]):
    """An array that goes to PostgreSQL as one text: the driver would look at each element, which costs more."""

    impl = ARRAY
    cache_ok = True

    def __init__(self, item_type: sa.types.TypeEngine[Any]) -> None:
        self.item_type = item_type
        super().__init__(item_type)

    def bind_processor(self, dialect: sa.Dialect) -> _Convert:
        """The elements as the driver takes them, and these as a text where they are what `_array` knows."""
        convert: _Convert | None = self.item_type.dialect_impl(dialect).bind_processor(dialect)

        def bind(values: Sequence[Any]) -> str | list[Any]:
            return _array(_all_converted(convert, values))

        return bind


def _array(values: Sequence[Any]) -> str | list[Any]:
    """PostgreSQL's text of an array; the values as they are when they are of a type that the driver must see to."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return f"{{{','.join(map(str, values))}}}"
    if kinds == {str}:
        joined = '","'.join(values)
        if joined.count('"') == 2 * (len(values) - 1) and "\\" not in joined:
            return f'{{"{joined}"}}'
    if all(kind in _AS_ELEMENT or issubclass(kind, str) for kind in kinds):
        return f"{{{','.join([_AS_ELEMENT.get(type(value), _quoted)(value) for value in values])}}}"
    return list(values)


def _quoted(value: str) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_AS_ELEMENT: Mapping[type, Callable[[Any], str]] = {
    int: str,
    bool: str,
    str: _quoted,
    type(None): lambda _: "NULL",
    datetime: lambda moment: f'"{moment.isoformat()}"',
}


def among_given(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """The condition that a column has one of the values that come with the execution as one list. PostgreSQL only."""
    return column == sa.any_(sa.bindparam(name, type_=_InOneText(column.type)))


def given(columns: Sequence[sa.Column[Any]]) -> Any:
    """A table with these columns, whose rows come with the execution as one list for each: `as_lists`.

    PostgreSQL only.
    """
    return given_as({column.name: column for column in columns})


def given_as(columns: Mapping[str, sa.Column[Any]]) -> Any:
    """`given` with names of one's own, each with a column that its values are meant for."""
    lists = [sa.bindparam(f"all_{name}", type_=_InOneText(column.type)) for name, column in columns.items()]
    named = [sa.column(name, column.type) for name, column in columns.items()]
    return sa.func.unnest(*lists).table_valued(*named, name="given").render_derived()


def as_lists(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows, which all name the same columns, as the parameters of `given`."""
    return {f"all_{name}": [row[name] for row in rows] for name in rows[0]}


def alike(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """The rows in groups that name the same columns, each for one statement."""
    groups: dict[frozenset[str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[frozenset(row)].append(row)
    return groups.values()


def upsert(tx: sa.Connection, table: sa.Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Enter rows, which all name the same columns, or set these in those that there are."""
    names = tuple(sorted(set(rows[0]) - {key}))
    if tx.dialect.name == "postgresql" and len(rows) > 1:
        tx.execute(_upsert_all(table, key, names), as_lists(rows))
    else:
        tx.execute(_upsert_each(tx.dialect.name, table, key, names), list(rows))


@lru_cache
def _upsert_all(table: sa.Table, key: str, names: tuple[str, ...]) -> Any:
    columns = [table.c[name] for name in (key, *names)]
    return or_set(postgresql.insert(table).from_select(columns, _chosen(columns)), key, names)


@lru_cache
def _upsert_each(dialect: str, table: sa.Table, key: str, names: tuple[str, ...]) -> Any:
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return or_set(insert.values({name: sa.bindparam(name) for name in (key, *names)}), key, names)


def or_set(insert: Any, key: str, names: Iterable[str]) -> Any:
    """An INSERT that sets these columns where there is a row with the key already."""
    return insert.on_conflict_do_update(index_elements=[key], set_={name: insert.excluded[name] for name in names})


def update(tx: sa.Connection, table: sa.Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of the rows that have these keys; all rows name the same columns."""
    if not rows:
        return
    names = frozenset(rows[0]) - {key}
    if tx.dialect.name == "postgresql":
        tx.execute(_update_all(table, key, names), as_lists(rows))
    else:
        tx.execute(_update_each(table, key, names), [{f"the_{name}": row[name] for name in row} for row in rows])


@lru_cache
def _update_all(table: sa.Table, key: str, names: frozenset[str]) -> sa.Update:
    rows = given([table.c[name] for name in (key, *sorted(names))])
    return sa.update(table).where(table.c[key] == rows.c[key]).values({name: rows.c[name] for name in names})


@lru_cache
def _update_each(table: sa.Table, key: str, names: frozenset[str]) -> sa.Update:
    values: dict[str, Any] = {name: sa.bindparam(f"the_{name}") for name in names}
    return sa.update(table).where(table.c[key] == sa.bindparam(f"the_{key}")).values(values)
