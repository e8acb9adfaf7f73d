"""What can be seen of a database's health: for `bamboo doctor`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import sqlalchemy as sa

from ..core.states import LEASED
from .tables import jobs, queues, storages, tasks

#: Settings of PostgreSQL without which what was committed may be gone after a power cut.
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def is_read_only(tx: sa.Connection) -> bool:
    """Whether PostgreSQL is a replica, or was told to take no changes."""
    return bool(tx.scalar(sa.text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'")))


def not_durable(tx: sa.Connection) -> list[str]:
    """Those settings of `DURABLE` that PostgreSQL has switched off."""
    return [name for name in DURABLE if tx.scalar(sa.select(sa.func.current_setting(name))) == "off"]


def connections(tx: sa.Connection) -> tuple[int, int]:
    """How many connections PostgreSQL has open, of all its databases, and how many it allows."""
    counted = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return int(tx.scalar(sa.text(counted)) or 0), int(tx.scalar(sa.func.current_setting("max_connections")) or 0)


def idle_transaction_seconds(tx: sa.Connection) -> float:
    """How long the oldest forgotten transaction of PostgreSQL's database is open; 0 if there is none."""
    oldest = (
        "SELECT extract(epoch FROM max(now() - xact_start)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    return float(tx.scalar(sa.text(oldest)) or 0.0)


def damage(tx: sa.Connection) -> list[str]:
    """What is damaged in a SQLite file, by its own check, which reads all of it."""
    found = tx.exec_driver_sql("PRAGMA quick_check(5)").scalars().all()
    return [str(line) for line in found if line != "ok"]


def forgotten(tx: sa.Connection, *, before: datetime) -> Mapping[str, int]:
    """Jobs and tasks whose leases ended before then, though it is somebody's work to take them back."""
    late_jobs = sa.select(sa.func.count()).where(jobs.c.status.in_(LEASED), jobs.c.lease_until < before)
    late_tasks = sa.select(sa.func.count()).where(tasks.c.lease_owner.is_not(None), tasks.c.lease_until < before)
    return {"jobs": int(tx.scalar(late_jobs) or 0), "tasks": int(tx.scalar(late_tasks) or 0)}


def queues_without_storage(tx: sa.Connection) -> tuple[int, list[str]]:
    """How many queues there are, and those of them whose storage does not exist."""
    known: Collection[str] = set(tx.scalars(sa.select(storages.c.storage)))
    named = tx.execute(sa.select(queues.c.queue, queues.c.storage).order_by(queues.c.queue)).all()
    return len(named), [row.queue for row in named if row.storage and row.storage not in known]
