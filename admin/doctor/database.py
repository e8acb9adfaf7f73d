"""The database: whether it answers, has this version's schema, keeps what it is given, and has room for connections."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from ...core.errors import BambooError
from ...sql import health, migrate
from ...sql.engine import reading
from ..database import opened
from .findings import Check, Finding
from .patient import Patient

CHECK = Check("database")
#: Connections that are used, of those allowed, from which on it is told.
BUSY = 0.8


def can_be_used(patient: Patient) -> list[Finding]:
    """Why the database cannot be asked anything; empty when it can. A file that is not there is not made."""
    file = patient.sqlite_file
    if file is not None and not file.exists():
        return [CHECK.fault(str(file), "there is no such file", "run `bamboo db upgrade`, or correct the URL")]
    try:
        with opened(patient.url) as engine, engine.connect():
            return []
    except BambooError as error:
        return CHECK.refused(patient.shown_url, error)


def check(patient: Patient) -> Iterator[Finding]:
    engine = patient.engine
    if engine is None:
        return
    yield CHECK.ok(patient.shown_url, "it answers")
    yield from _schema(engine, patient)
    if engine.dialect.name == "postgresql":
        yield from _postgres(engine, patient)
    elif patient.sqlite_file is not None:
        yield from _sqlite(engine, patient)


def _schema(engine: sa.Engine, patient: Patient) -> Iterator[Finding]:
    have, need = migrate.current(engine), migrate.head()
    if have == need:
        yield CHECK.ok(patient.shown_url, f"its schema is at revision {have}, as this version needs")
    elif have is None:
        yield CHECK.fault(patient.shown_url, "it has no tables of ours", "run `bamboo db upgrade`")
    elif have > need:
        what = f"it is at revision {have}, which is newer than this version's {need}"
        yield CHECK.fault(patient.shown_url, what, "install the version that the other parts have")
    else:
        what = f"it is at revision {have}, this version needs {need}"
        yield CHECK.fault(patient.shown_url, what, "run `bamboo db upgrade`")


def _postgres(engine: sa.Engine, patient: Patient) -> Iterator[Finding]:
    where = patient.shown_url
    with reading(engine) as tx:
        read_only, weak = health.is_read_only(tx), health.not_durable(tx)
        (used, allowed), idle = health.connections(tx), health.idle_transaction_seconds(tx)
    if read_only:
        yield CHECK.fault(where, "it may only be read: it is a replica, or set so", "name the primary in the URL")
    if weak:
        what = f"{' and '.join(weak)} off: what was acknowledged may be gone after a power cut"
        yield CHECK.fault(where, what, "set " + ", ".join(f"{name} = on" for name in weak) + " and reload it")
    else:
        yield CHECK.ok(where, "what is committed is on disk")
    busy = f"{used} of {allowed} connections are in use"
    if used >= BUSY * allowed:
        yield CHECK.warning(where, busy, "raise max_connections, lower [database] pool_size, or use a pooler")
    else:
        yield CHECK.ok(where, busy)
    if idle > patient.measures.late_seconds:
        what = f"a transaction is open for {idle:.0f} s and nobody uses it: claims become slow"
        yield CHECK.warning(where, what, "end it: see pg_stat_activity, state 'idle in transaction'")


def _sqlite(engine: sa.Engine, patient: Patient) -> Iterator[Finding]:
    file = patient.sqlite_file
    if file is None:
        return
    if file.stat().st_size > patient.measures.checked_file_bytes:
        yield CHECK.ok(str(file), "it is too large to be read as a whole here: `PRAGMA quick_check` does that")
        return
    with reading(engine) as tx:
        damaged = health.damage(tx)
    if damaged:
        do = "stop all parts, and go back to a copy; `sqlite3 FILE .recover` saves what can be read"
        yield CHECK.fault(str(file), f"the file is damaged: {damaged[0]}", do)
    else:
        yield CHECK.ok(str(file), "the file is whole")
