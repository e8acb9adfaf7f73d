"""Views: names that stay the same for administrators, monitors and our own queries, whatever lies behind them.

`all_jobs` are the live and the archived jobs, with the columns of `jobs` and `is_archived` (manual ch. 8.5: what is
archived stays readable). Conditions on its columns, and an order by id with a limit, are passed on to the indexes of
both tables by PostgreSQL and SQLite.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from . import panda_views
from .tables import archived_jobs, jobs

#: The tables behind the view, and whether what they hold is archived.
_PARTS = {jobs.name: False, archived_jobs.name: True}

all_jobs = sa.table(
    "all_jobs",
    *(sa.column(column.name, column.type) for column in jobs.columns),
    sa.column("is_archived", sa.Boolean),
)


def create(connection: sa.Connection) -> None:
    """Make the view over the columns that `jobs` has at this revision."""
    names = [column["name"] for column in sa.inspect(connection).get_columns(jobs.name)]
    parts = [
        sa.select(*(sa.column(name) for name in names), (sa.true() if archived else sa.false()).label("is_archived"))
        .select_from(sa.table(table))
        .compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        for table, archived in _PARTS.items()
    ]
    connection.exec_driver_sql(f"CREATE VIEW {all_jobs.name} AS {' UNION ALL '.join(map(str, parts))}")


def drop(connection: sa.Connection) -> None:
    """Take the view away."""
    connection.exec_driver_sql(f"DROP VIEW {all_jobs.name}")


@contextmanager
def rebuilt(connection: sa.Connection) -> Iterator[None]:
    """For migrations that change columns of tables with views: these are away meanwhile, and have the new ones
    afterwards."""
    panda_views.drop(connection)
    drop(connection)
    yield
    create(connection)
    panda_views.create(connection)
