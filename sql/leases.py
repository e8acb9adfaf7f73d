"""Named leases: one holder at a time, for chores with `sync` and for anything else there may be only one of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..core.errors import LeaseLost
from .tables import leases


@dataclass(frozen=True)
class Lease:
    """A lease as its holder knows it; `term` is the fence."""

    name: str
    owner: str
    term: int


def acquire(
    tx: sa.Connection, name: str, owner: str, *, until: datetime, now: datetime, period_seconds: float = 0
) -> Lease | None:
    """Take the lease if it is free and, with a period, if its work was last begun that long ago; else None.

    Taking it notes `now` as the beginning of the work (manual ch. 11.1.4: the period counts over all machines).
    """
    _ensure(tx, name)
    free = sa.or_(leases.c.until.is_(None), leases.c.until < now)
    due = sa.or_(leases.c.last_run_at.is_(None), leases.c.last_run_at <= now - timedelta(seconds=period_seconds))
    statement = (
        sa.update(leases)
        .where(leases.c.name == name, free, due)
        .values(owner=owner, until=until, term=leases.c.term + 1, last_run_at=now)
        .returning(leases.c.term)
    )
    term = tx.execute(statement).scalar_one_or_none()
    return None if term is None else Lease(name, owner, int(term))


def renew(tx: sa.Connection, held: Lease, *, until: datetime) -> None:
    """Keep the lease for longer; raises `LeaseLost`."""
    statement = sa.update(leases).where(
        leases.c.name == held.name, leases.c.term == held.term, leases.c.owner == held.owner
    )
    if tx.execute(statement.values(until=until)).rowcount != 1:
        raise LeaseLost(f"the lease {held.name} is no longer held by {held.owner}")


def release(tx: sa.Connection, held: Lease) -> None:
    """Give the lease back; nothing happens when it was lost."""
    tx.execute(
        sa.update(leases).where(leases.c.name == held.name, leases.c.term == held.term).values(owner=None, until=None)
    )


def free_at(tx: sa.Connection, name: str, *, period_seconds: float = 0) -> datetime | None:
    """When the lease can be had again, unless it is renewed until then; None when it is free."""
    row = tx.execute(sa.select(leases.c.until, leases.c.last_run_at).where(leases.c.name == name)).first()
    if row is None:
        return None
    due = row.last_run_at and row.last_run_at + timedelta(seconds=period_seconds)
    return max((moment for moment in (row.until, due) if moment is not None), default=None)


def last_runs(tx: sa.Connection, names: Sequence[str]) -> dict[str, datetime]:
    """When the work of each of these leases was last begun, of those that ever were taken."""
    statement = sa.select(leases.c.name, leases.c.last_run_at).where(leases.c.name.in_(names))
    return {row.name: row.last_run_at for row in tx.execute(statement) if row.last_run_at is not None}


def holding(tx: sa.Connection, name: str, *, now: datetime) -> tuple[str | None, datetime | None]:
    """Who holds the lease now, and when its work was last begun; None for nobody, and for never."""
    row = tx.execute(
        sa.select(leases.c.owner, leases.c.until, leases.c.last_run_at).where(leases.c.name == name)
    ).first()
    if row is None:
        return None, None
    return (row.owner if row.until is not None and row.until >= now else None), row.last_run_at


@dataclass(frozen=True)
class Work:
    """What there may be only one of, as everybody sees it."""

    name: str
    is_held: bool
    last_run_at: datetime | None


def works(tx: sa.Connection, *, now: datetime, limit: int = 1000) -> list[Work]:
    """All work that goes by leases, by name."""
    statement = sa.select(leases.c.name, leases.c.until, leases.c.last_run_at).order_by(leases.c.name).limit(limit)
    return [
        Work(row.name, row.until is not None and row.until >= now, row.last_run_at) for row in tx.execute(statement)
    ]


def forget(tx: sa.Connection, name: str, owner: str) -> None:
    """Undo that a process which is known to be dead took the lease, so that its work is due again at once."""
    tx.execute(
        sa.update(leases)
        .where(leases.c.name == name, leases.c.owner == owner)
        .values(owner=None, until=None, last_run_at=None)
    )


def _ensure(tx: sa.Connection, name: str) -> None:
    if tx.execute(sa.select(leases.c.name).where(leases.c.name == name)).first() is None:
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(leases).values(name=name))
        except sa.exc.IntegrityError:
            return  # another process was first
