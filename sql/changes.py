"""Whether anything was written to the database since the last look, for much less than a query for work costs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

#: How a database says that something was written: a number that grows with every commit of others, or with every byte
#: of the log. PostgreSQL writes the commit to its log some milliseconds before others see what was committed.
_QUERIES = {"sqlite": "PRAGMA data_version", "postgresql": "SELECT pg_current_wal_insert_lsn()"}
_LOOKS_TO_BE_SURE = {"sqlite": 1, "postgresql": 2}


class ChangeWatch:
    """Looks at the database over a connection of its own, which it opens at the first look. For one thread."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._query = _QUERIES.get(engine.dialect.name)
        self._looks_to_be_sure = _LOOKS_TO_BE_SURE.get(engine.dialect.name, 1)
        self._connection: sa.PoolProxiedConnection | None = None
        self._last: Any = None
        self._n_same = 0

    def unchanged(self) -> bool:
        """Whether a query would find what it found at the last look; False when that cannot be said.

        It cannot be said on databases other than SQLite and PostgreSQL, and when the database does not answer.
        """
        now = self._look()
        self._n_same = self._n_same + 1 if now is not None and now == self._last else 0
        self._last = now
        return self._n_same >= self._looks_to_be_sure

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self) -> Any:
        if self._query is None:
            return None
        try:
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.cursor()
            cursor.execute(self._query)
            row = cursor.fetchone()
            cursor.close()
        except (sa.exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error):
            self.close()
            return None
        return row[0] if row else None

    def _connect(self) -> sa.PoolProxiedConnection:
        connection = self._engine.raw_connection()
        if self._engine.dialect.name == "postgresql" and connection.driver_connection is not None:
            connection.driver_connection.autocommit = True
        connection.detach()  # it is kept for long, and not one of those that work is done with
        return connection
