"""Imports of what is said about links between sites: how near they are, and what was measured (manual ch. 12.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.network_documents import BLOCKED, SPANS, Link, Measured
from ..core.tunables import tunable
from .imports import Import, Swapped
from .tables import links, sites

METRICS_HOURS = tunable(
    "pandaserver",
    "configurator",
    "NETWORK_METRICS_HOURS",
    1.0,
    unit="hours",
    source="ours: manual ch. 12.1.2 wants the most recent data available, those of the last hour if there are any",
    help="What was measured of links longer ago is not taken over, and not believed any more.",
)
#: Why a link is shut that the site matrix shuts.
SHUT = f"the site matrix gives it the closeness {BLOCKED}"
Pair = tuple[str, str]
_MBPS = {span: f"mbps_{span}" for span in SPANS.values()}


def swap_closeness(tx: sa.Connection, near: Sequence[Link], how: Import) -> Swapped:
    """Enter how near sites are, and which links are shut; what else is known of a link stays."""
    rows = _rows(tx)
    found = {(one.source, one.destination): one.closeness for one in near}
    wanted: dict[Pair, dict[str, Any]] = {}
    for pair in {*rows, *found}:
        closeness, blocked = found.get(pair), rows[pair].blocked if pair in rows else None
        is_shut = closeness == BLOCKED
        others = blocked if blocked != SHUT else None
        wanted[pair] = {"closeness": None if is_shut else closeness, "blocked": others or (SHUT if is_shut else None)}
    return _enter(tx, rows, wanted, found, how)


def swap_network(tx: sa.Connection, measured: Sequence[Measured], how: Import) -> Swapped:
    """Enter what was measured of links; those that are not in the document have no measurements any more.

    What is older than NETWORK_METRICS_HOURS counts as not measured. The closeness of links stays.
    """
    oldest = how.now - timedelta(hours=how.numbers(METRICS_HOURS))

    def _is_fresh(at: datetime | None) -> bool:
        return at is None or at >= oldest

    rows = _rows(tx)
    found = {(one.source, one.destination): one for one in measured}
    wanted: dict[Pair, dict[str, Any]] = {}
    for pair in {*(pair for pair, row in rows.items() if row.measured_at is not None), *found}:
        one = found.get(pair, Measured(*pair))
        queued = {activity: n for activity, (n, at) in one.queued.items() if _is_fresh(at)}
        mbps = one.mbps if _is_fresh(one.mbps_at) else {}
        moments = [at for _, at in one.queued.values() if _is_fresh(at)] + ([one.mbps_at] if mbps else [])
        if pair not in rows and not moments:
            continue
        wanted[pair] = {
            "queued": queued or None,
            "queued_files": sum(queued.values()),
            **{column: mbps.get(span) for span, column in _MBPS.items()},
            "measured_at": min((at or how.now for at in moments), default=None),
        }
    return _enter(tx, rows, wanted, found, how)


def _rows(tx: sa.Connection) -> dict[Pair, sa.Row[Any]]:
    rows = tx.execute(sa.select(links).order_by(links.c.source, links.c.destination).with_for_update())
    return {(row.source, row.destination): row for row in rows}


def _enter(
    tx: sa.Connection,
    rows: Mapping[Pair, sa.Row[Any]],
    wanted: Mapping[Pair, Mapping[str, Any]],
    found: Iterable[Pair],
    how: Import,
) -> Swapped:
    """Enter values of links, of which `found` are in the document. Names count links, as `A to B`."""
    new = sorted(set(wanted) - set(rows))
    old = sorted(
        pair
        for pair in set(wanted) & set(rows)
        if any(getattr(rows[pair], column) != value for column, value in wanted[pair].items())
    )
    done = Swapped(added=[f"{a} to {b}" for a, b in new], changed=[f"{a} to {b}" for a, b in old])
    known = set(tx.scalars(sa.select(sites.c.site)))
    done.unknown = sorted({name for pair in found for name in pair} - known)
    if new:
        values = [{"source": a, "destination": b, "modified_at": how.now, **wanted[a, b]} for a, b in new]
        tx.execute(sa.insert(links), values)
    if old:
        where = (links.c.source == sa.bindparam("of_source"), links.c.destination == sa.bindparam("of_destination"))
        columns: dict[str, Any] = {column: sa.bindparam(f"new_{column}") for column in wanted[old[0]]}
        statement = sa.update(links).where(*where).values(modified_at=how.now, **columns)
        values = [{f"new_{column}": value for column, value in wanted[pair].items()} for pair in old]
        named = [{"of_source": a, "of_destination": b} for a, b in old]
        tx.execute(statement, [{**name, **some} for name, some in zip(named, values, strict=True)])
    return done
