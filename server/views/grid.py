"""Pilots and their workers, and the global shares."""

from __future__ import annotations

from typing import Any

from flask import Response

from ...core.shares import Standing, Tree, entitlements
from ...sql import page_queries, shares
from ..auth.access import NOBODY, open_to
from ..context import context
from .show import routes, show

SHOWN_PILOTS = 200


@routes.get("/workers/")
@open_to(NOBODY)
def pilots() -> Response:
    """Pilots that have a job, and workers that were heard of."""
    with context().reading() as tx:
        data = {
            "jobs": [pilot_row(row) for row in page_queries.pilots_at_work(tx, limit=SHOWN_PILOTS)],
            "workers": [row._asdict() for row in page_queries.list_workers(tx, limit=SHOWN_PILOTS)],
            "limit": SHOWN_PILOTS,
        }
    return show("pilots.html", "Pilots", data)


def pilot_row(row: Any) -> dict[str, Any]:
    """A job that a pilot has, without what only the pilot may know: the key that would hand out its job again."""
    names = "pandaid jeditaskid status queue node pilot_id batch_id worker_id heartbeat_at lease_until started_at"
    return {name: getattr(row, name) for name in names.split()}


@routes.get("/globalshares/")
@open_to(NOBODY)
def global_shares() -> Response:
    """The tree of shares: what each should have and has, in cores."""
    with context().reading() as tx:
        tree, usage = shares.tree(tx), shares.usage(tx)
        standings = {one.share: one for one in shares.standings(tx)}
        counted_at = shares.counted_at(tx)
    slots = sum(used.running for used in usage.values())
    rows = _rows(tree, standings, entitlements(tree, slots) if tree.shares else {})
    data = {"rows": rows, "slots": slots, "counted_at": counted_at, "notes": tree.notes}
    return show("shares.html", "Global shares", data, rows=rows)


def _rows(tree: Tree, standings: dict[str, Standing], entitled: dict[str, float]) -> list[dict[str, Any]]:
    """The shares from the top down, those of one parent by name; inner ones sum up what is below them."""
    rows: list[dict[str, Any]] = []

    def add(name: str, level: int) -> Standing:
        place = len(rows)
        rows.append({})
        below = [add(child, level + 1) for child in tree.children.get(name, ())]
        one = _sum(name, below) if below else standings[name]
        share = tree.shares[name]
        more = {"level": level, "value": share.value, "entitled": round(entitled.get(name, 0.0), 1)}
        rows[place] = {**_row(one), **more, "patterns": dict(share.patterns)}
        return one

    for top in tree.children[None]:
        add(top, 0)
    rest = [one for name, one in standings.items() if name not in tree.shares]
    return rows + [{**_row(one), "level": 0, "value": 0.0, "entitled": 0.0, "patterns": {}} for one in rest]


def _sum(name: str, below: list[Standing]) -> Standing:
    figures = (sum(getattr(one, figure) for one in below) for figure in ("target", "running", "queued"))
    return Standing(name, *figures)


def _row(one: Standing) -> dict[str, Any]:
    return {
        "name": one.share,
        "target": round(one.target, 1),
        "running": round(one.running, 1),
        "queued": round(one.queued, 1),
    }
