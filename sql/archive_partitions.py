"""The partitions of `archived_jobs` on PostgreSQL: one a month of `modified_at` (manual ch. 8.4), dropped as a whole.

By that moment, as PanDA does it: a job that is over does not change any more, so that it says for how long the job was
left alone, and questions about a time read the partitions of that time only. By month, so that a year is a dozen of
them: a question about one job looks into the index of each.

The first partition reaches back to the beginning of time; months follow each other without a gap. What fits none, such
as a job of a month that was dropped already, goes to the partition `archived_jobs_other` instead of being refused.

A month that is too old is detached first. From then on nobody sees its jobs, it takes part in no query, and nothing can
come into it: so what was kept of its jobs elsewhere can go page by page, and its own rows with the table. How far that
has come is in the comment of the table.

Every function here begins with a lock that one transaction at a time has, and does nothing without it. On other
databases, or where the table is not partitioned, there is nothing to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from .tables import archived_jobs

#: The partition that takes what fits no other.
OTHER = f"{archived_jobs.name}_other"
#: What the tables of detached partitions are called: this and their month.
DETACHED = "forgotten_jobs_"
#: A change of partitions needs `archived_jobs` for itself: it waits for readers no longer than this, and lets others
#: wait no longer behind it.
LOCK_SECONDS = 2

_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended('archived_jobs: partitions', 0))")
_IS_PARTITIONED = sa.text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:name)")
_BOUNDS = sa.text(
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = to_regclass(:name)"
)
_DETACHED = sa.text(
    "SELECT relname, coalesce(obj_description(oid, 'pg_class'), '0') FROM pg_class"
    " WHERE relkind = 'r' AND pg_table_is_visible(oid) AND starts_with(relname::text, :prefix) ORDER BY relname"
)
_UPPER_BOUND = re.compile(r"TO \('([^']+)'\)")


def month_of(moment: datetime) -> datetime:
    """The beginning of a moment's month, UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """The beginning of the month after one that begins then."""
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def exist(tx: sa.Connection) -> bool:
    """Whether the archive has partitions."""
    return tx.dialect.name == "postgresql" and bool(tx.scalar(_IS_PARTITIONED, {"name": archived_jobs.name}))


def hold(tx: sa.Connection) -> bool:
    """Whether there are partitions, and this transaction may change them."""
    return exist(tx) and bool(tx.scalar(_LOCK))


def _wait_briefly(tx: sa.Connection) -> None:
    tx.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


def months(tx: sa.Connection) -> list[tuple[datetime, str]]:
    """The partitions but `OTHER`, oldest first: [(the moment that is no longer in it, its name)]."""
    tx.exec_driver_sql("SET LOCAL DateStyle = 'ISO'")  # as bounds are told
    found = []
    for name, bound in tx.execute(_BOUNDS, {"name": archived_jobs.name}):
        upper = _UPPER_BOUND.search(bound)
        if upper is not None:
            found.append((datetime.fromisoformat(upper[1]).astimezone(UTC), str(name)))
    return sorted(found)


def make_next(tx: sa.Connection, *, until: datetime) -> bool:
    """Make the month after the last, if that ends before a moment; returns whether one was made.

    Jobs of that month that have come before their partition move into it.
    """
    if not hold(tx):
        return False
    known = months(tx)
    begin = known[-1][0] if known else month_of(until)
    if begin > until:
        return False
    end = next_month(begin)
    name = f"{archived_jobs.name}_{begin:%Y_%m}"
    _wait_briefly(tx)
    tx.exec_driver_sql(f"CREATE TABLE {name} (LIKE {archived_jobs.name} INCLUDING ALL)")
    of_month = f"DELETE FROM {OTHER} WHERE modified_at >= :begin AND modified_at < :end RETURNING *"  # noqa: S608 - our names
    moved = sa.text(f"WITH moved AS ({of_month}) INSERT INTO {name} SELECT * FROM moved")  # noqa: S608 - our names
    tx.execute(moved, {"begin": begin, "end": end})
    bounds = f"FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
    tx.exec_driver_sql(f"ALTER TABLE {archived_jobs.name} ATTACH PARTITION {name} FOR VALUES {bounds}")
    return True


def detach_oldest(tx: sa.Connection, *, before: datetime) -> bool:
    """Take the oldest month out of the archive, if all of it is before a moment; returns whether it was."""
    if not hold(tx):
        return False
    known = months(tx)
    if not known or known[0][0] > before:
        return False
    name = known[0][1]
    _wait_briefly(tx)
    tx.exec_driver_sql(f"ALTER TABLE {archived_jobs.name} DETACH PARTITION {name}")
    tx.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {DETACHED}{name.removeprefix(archived_jobs.name + '_')}")
    return True


def detached_page(tx: sa.Connection, *, limit: int) -> Sequence[int]:
    """The next jobs of the oldest detached month, of which all that is kept elsewhere is to be deleted now.

    With its last page the month is dropped, and the next one's turn comes.
    """
    if not hold(tx):
        return ()
    _wait_briefly(tx)  # for whoever copies the whole database
    for name, after in tx.execute(_DETACHED, {"prefix": DETACHED}).all():
        pandaid: sa.ColumnClause[Any] = sa.column("pandaid")
        page = sa.select(pandaid).select_from(sa.table(name)).where(pandaid > int(after)).order_by(pandaid).limit(limit)
        ids = list(tx.scalars(page))
        last_page = len(ids) < limit
        tx.exec_driver_sql(f"DROP TABLE {name}" if last_page else f"COMMENT ON TABLE {name} IS '{ids[-1]}'")
        if ids:
            return ids
    return ()
