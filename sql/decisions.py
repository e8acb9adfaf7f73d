"""Decisions: what was decided about a task or job, and why, entered by the code that decided it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .tables import decisions

#: How many kinds of a decision about a task are told apart; more are entered anew.
KINDS = 50


def record(
    tx: sa.Connection,
    *,
    actor: str,
    what: str,
    why: Mapping[str, Any],
    now: datetime,
    jeditaskid: int | None = None,
    pandaid: int | None = None,
    queue: str | None = None,
) -> None:
    """Enter a decision; if the task's last one by this actor was the same, only count it again."""
    what = what[:255]
    last = tx.execute(
        sa.select(decisions.c.id, decisions.c.what, decisions.c.queue)
        .where(decisions.c.jeditaskid == jeditaskid, decisions.c.actor == actor)
        .order_by(decisions.c.id.desc())
        .limit(1)
    ).first()
    if last is not None and (last.what, last.queue) == (what, queue):
        again = {"repeated": decisions.c.repeated + 1, "last_at": now, "why": dict(why)}
        tx.execute(sa.update(decisions).where(decisions.c.id == last.id).values(again))
        return
    tx.execute(
        sa.insert(decisions).values(
            jeditaskid=jeditaskid,
            pandaid=pandaid,
            queue=queue,
            actor=actor,
            what=what,
            why=dict(why),
            at=now,
            last_at=now,
        )
    )


def record_kind(
    tx: sa.Connection,
    *,
    actor: str,
    what: str,
    why: Mapping[str, Any],
    kind: str,
    now: datetime,
    jeditaskid: int,
    **more: Any,
) -> None:
    """Enter a decision of which there is one for each `kind`, a key of `why`; again, its number of jobs grows.

    Those of other kinds in between do not matter, unlike for `record`. `more` are further columns.
    """
    mine = (decisions.c.jeditaskid == jeditaskid, decisions.c.actor == actor, decisions.c.what == what[:255])
    newest = sa.select(decisions).where(*mine).order_by(decisions.c.id.desc()).limit(KINDS)
    for last in tx.execute(newest):
        if last.why.get(kind) == why[kind]:
            told = {**why, "jobs": int(last.why.get("jobs", 0)) + int(why.get("jobs", 0))}
            again = {"repeated": decisions.c.repeated + 1, "last_at": now, "why": told, **more}
            tx.execute(sa.update(decisions).where(decisions.c.id == last.id).values(again))
            return
    new = {"jeditaskid": jeditaskid, "actor": actor, "what": what[:255], "why": dict(why), "at": now, "last_at": now}
    tx.execute(sa.insert(decisions).values(**new, **more))


def record_last(tx: sa.Connection, *, actor: str, queue: str, what: str, why: Mapping[str, Any], now: datetime) -> None:
    """Enter a decision about a queue in place of the last one by this actor: there is one for each queue and actor."""
    mine = (decisions.c.jeditaskid.is_(None), decisions.c.actor == actor, decisions.c.queue == queue)
    again = {"repeated": decisions.c.repeated + 1, "last_at": now, "why": dict(why), "what": what[:255]}
    if tx.execute(sa.update(decisions).where(*mine).values(again)).rowcount == 0:
        new = {"actor": actor, "queue": queue, "what": what[:255], "why": dict(why), "at": now, "last_at": now}
        tx.execute(sa.insert(decisions).values(new))


def of_queue(tx: sa.Connection, queue: str, actor: str) -> sa.Row[Any] | None:
    """The last decision about a queue by an actor."""
    mine = (decisions.c.jeditaskid.is_(None), decisions.c.actor == actor, decisions.c.queue == queue)
    return tx.execute(sa.select(decisions).where(*mine).order_by(decisions.c.id.desc()).limit(1)).first()


def trim(tx: sa.Connection, *, after: int, before: datetime, keep: int, limit: int) -> tuple[int, int]:
    """Look at a page of decisions, by id, and forget those last taken before a moment, and those of a task that has
    `keep` newer ones.

    Returns the id to go on after, 0 at the end, and how many were forgotten. So a whole table is walked in many small
    transactions, and no index is needed for it.
    """
    page = tx.scalars(
        sa.select(decisions.c.id).where(decisions.c.id > after).order_by(decisions.c.id).limit(limit)
    ).all()
    if not page:
        return 0, 0
    newer = decisions.alias()
    n_newer = (
        sa.select(sa.func.count())
        .where(newer.c.jeditaskid == decisions.c.jeditaskid, newer.c.id > decisions.c.id)
        .scalar_subquery()
    )
    in_page = sa.and_(decisions.c.id > after, decisions.c.id <= page[-1])
    doomed = sa.select(decisions.c.id).where(in_page, sa.or_(decisions.c.last_at < before, n_newer >= keep))
    ids = tx.scalars(doomed).all()
    if ids:
        tx.execute(sa.delete(decisions).where(decisions.c.id.in_(ids)))
    return (page[-1] if len(page) == limit else 0), len(ids)


def of_task(tx: sa.Connection, jeditaskid: int, *, limit: int = 20) -> list[sa.Row[Any]]:
    """The last decisions about a task, newest first."""
    return list(
        tx.execute(
            sa.select(decisions)
            .where(decisions.c.jeditaskid == jeditaskid)
            .order_by(decisions.c.id.desc())
            .limit(limit)
        )
    )
