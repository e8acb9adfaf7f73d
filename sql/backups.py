"""Copies of the database: made while it is in use, and what has to be done before one is used in its place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from ..core.errors import Fault, Invalid
from ..core.states import QUEUED
from .tables import job_events, jobs, tasks

#: Numbers of tasks and jobs that are passed over, for those that were given out after the copy was made.
PASSED_OVER = 1_000_000
#: The same for attempts of one job.
ATTEMPTS_PASSED_OVER = 1000


@dataclass(frozen=True)
class Fenced:
    """What `fence_lost` changed."""

    n_jobs: int


def copy_sqlite(engine: sa.Engine, target: Path) -> None:
    """Copy an SQLite database as it is at one moment, while others write to it (sqlite.org/backup.html).

    The copy gets its name when it is whole, and is for its owner alone. Raises `Invalid` for other databases, and
    `OSError`.
    """
    if engine.dialect.name != "sqlite":
        do = "use its own tools: for PostgreSQL pg_dump --format=custom"
        raise Invalid("the backup", [Fault("the database", f"it is {engine.dialect.name}, not SQLite", do)])
    import sqlite3

    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    raw = engine.raw_connection()
    try:
        source = cast(sqlite3.Connection, raw.driver_connection)
        copy = sqlite3.connect(partial)
        try:
            source.backup(copy)  # in one go: a copy in pieces begins anew whenever somebody writes
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
        finally:
            copy.close()
        partial.replace(target)
    finally:
        raw.close()
        partial.unlink(missing_ok=True)


def fence_lost(tx: sa.Connection, *, now: datetime) -> Fenced:
    """Keep what happened after a copy was made from being taken for what will happen in it.

    Jobs that wait in the copy may have been given to pilots afterwards, and numbers to tasks and jobs that it does not
    have. Their pilots are still there, and report. So waiting jobs get attempts that no pilot has heard of, and new
    tasks and jobs numbers that were never given out. Raises `Invalid` for databases other than PostgreSQL and SQLite.
    """
    for table, column in ((tasks, tasks.c.jeditaskid), (jobs, jobs.c.pandaid)):
        _pass_over(tx, table, column)
    waiting = jobs.c.status.in_(QUEUED)
    attempt_nr = jobs.c.attempt_nr + ATTEMPTS_PASSED_OVER
    line: dict[str, Any] = {
        "pandaid": jobs.c.pandaid,
        "attempt_nr": attempt_nr,
        "old_status": jobs.c.status,
        "new_status": jobs.c.status,
        "actor": sa.literal("operator"),
        "why": sa.literal("the database was restored: attempts of before count no more"),
        "at": sa.literal(now, job_events.c.at.type),
    }
    tx.execute(sa.insert(job_events).from_select(list(line), sa.select(*line.values()).where(waiting)))
    changed = tx.execute(sa.update(jobs).where(waiting).values(attempt_nr=attempt_nr, modified_at=now))
    return Fenced(changed.rowcount)


def _pass_over(tx: sa.Connection, table: sa.Table, column: sa.Column[int]) -> None:
    names = {"the_table": table.name, "the_column": column.name, "n": PASSED_OVER}
    if tx.dialect.name == "postgresql":
        of_column = "pg_get_serial_sequence(:the_table, :the_column)"
        tx.execute(sa.text(f"SELECT setval({of_column}, nextval({of_column}) + :n)"), names)
    elif tx.dialect.name == "sqlite":
        tx.execute(sa.text("UPDATE sqlite_sequence SET seq = seq + :n WHERE name = :the_table"), names)
    else:
        fault = Fault("the database", f"it is {tx.dialect.name}", "only PostgreSQL and SQLite are known here")
        raise Invalid("what was lost cannot be fenced", [fault])
