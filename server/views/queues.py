"""Queues and sites: their limits, what they have to do, what brokers say of them, and their pilots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Response

from ...core.errors import NotFound
from ...sql import counts, grid, page_queries, queue_history, queue_verdicts, queues
from ...sql.history import Of
from ...sql.queue_values import Layers
from ..auth.access import NOBODY, open_to
from ..context import context
from . import activity
from .grid import pilot_row
from .show import routes, show
from .words import duration, figure, size

#: What the page of a queue looks back on.
PAST = timedelta(hours=24)
SHOWN_PILOTS = 50
SHOWN_LINKS = 50


@routes.get("/queues/")
@open_to(NOBODY)
def list_of_queues() -> Response:
    """All queues with their limits and jobs."""
    now = context().now()
    with context().reading() as tx:
        n_jobs, counted_at = counts.lately(tx, now=now)
        active = {row.queue: row for row in grid.activities(tx)}
        rows = [_row(row, n_jobs.get(row.queue, {}), active.get(row.queue)) for row in queues.list_queues(tx)]
    return show("queues.html", "Queues", {"rows": rows, "counted_at": counted_at}, rows=rows)


def _row(queue: Any, jobs: dict[str, int], activity: Any) -> dict[str, Any]:
    return {
        "queue": queue.queue,
        "site": queue.site,
        "status": queue.status,
        "type": queue.type,
        "vo": queue.vo,
        "corecount": queue.core_count,
        "maxrss": queue.max_rss_mb,
        "maxtime": queue.max_time_seconds,
        "storage": queue.storage,
        "jobs": jobs,
        "last_pilot_at": activity.last_pilot_at if activity else None,
        "last_start_at": activity.last_start_at if activity else None,
        "n_batch_workers": activity.n_batch_workers if activity else 0,
    }


@routes.get("/queue/<path:name>/")
@open_to(NOBODY)
def queue(name: str) -> Response:
    """One queue."""
    now = context().now()
    since, mine = now - PAST, Of("queue", name)
    with context().reading() as tx:
        row = queues.get_queue(tx, name)
        active = {one.queue: one for one in grid.activities(tx)}
        n_jobs, counted_at = counts.lately(tx, now=now)
        charts = activity.charts(tx, since, now, mine)
        data = {
            "queue": _row(row, n_jobs.get(name, {}), active.get(name)),
            "counted_at": counted_at,
            "document": queues.queue_document(row),
            "origins": {key: one.origin for key, one in sorted(Layers.of_row(row).values().items())},
            "causes": activity.causes(tx, since, mine),
            "verdicts": queue_verdicts.of_queues(tx, [name], since=since),
            "decisions": [one._asdict() for one in page_queries.recent_decisions(tx, queue=name, limit=20)],
            **_at_work(tx, [name]),
            "history": [one._asdict() for one in queue_history.of_queue(tx, name, limit=20)],
        }
    more = {"charts": charts, "limits": _limits(data["queue"])}
    return show("queue.html", f"Queue {name}", {**data, **more}, rows=data)


def _limits(queue: Mapping[str, Any]) -> dict[str, str]:
    """What fits at a queue, in words."""
    return {
        "for": queue["vo"] or "all",
        "cores": figure(queue["corecount"]),
        "memory": size(queue["maxrss"] * 1_000_000) if queue["maxrss"] else "no limit",
        "time": duration(queue["maxtime"]) if queue["maxtime"] else "no limit",
        "outputs go to": queue["storage"] or "nowhere",
    }


@routes.get("/sites/")
@open_to(NOBODY)
def list_of_sites() -> Response:
    """All sites with their queues and storages."""
    now = context().now()
    with context().reading() as tx:
        n_jobs, _ = counts.lately(tx, now=now)
        by_site: dict[str, list[Any]] = {}
        for row in queues.list_queues(tx):
            by_site.setdefault(row.site, []).append(_row(row, n_jobs.get(row.queue, {}), None))
        storages: dict[str, list[str]] = {}
        for one in queues.list_storages(tx):
            storages.setdefault(one.site, []).append(one.storage)
        rows = [
            {
                "site": site.site,
                "cloud": site.cloud,
                "state": site.state,
                "queues": by_site.get(site.site, []),
                "storages": storages.get(site.site, []),
            }
            for site in page_queries.sites_by_name(tx)
        ]
    return show("sites.html", "Sites", {"rows": rows}, rows=rows)


@routes.get("/site/<path:name>/")
@open_to(NOBODY)
def site(name: str) -> Response:
    """One site: as described, with its queues, what they did and do, its storages and links."""
    now = context().now()
    since = now - PAST
    with context().reading() as tx:
        row = next((one for one in page_queries.sites_by_name(tx) if one.site == name), None)
        if row is None:
            raise NotFound(f"there is no site {name}", hint="/sites/ lists them")
        n_jobs, _ = counts.lately(tx, now=now)
        active = {one.queue: one for one in grid.activities(tx)}
        of_site = [one for one in queues.list_queues(tx) if one.site == name]
        names = [one.queue for one in of_site]
        mine = Of("queue", among=names)
        charts = activity.charts(tx, since, now, mine)
        data = {
            "site": row._asdict(),
            "queues": [_row(one, n_jobs.get(one.queue, {}), active.get(one.queue)) for one in of_site],
            "causes": activity.causes(tx, since, mine),
            "verdicts": queue_verdicts.of_queues(tx, names, since=since),
            **_at_work(tx, names),
            "storages": [one._asdict() for one in queues.list_storages(tx) if one.site == name],
            "links": [one._asdict() for one in grid.links_to(tx, name)[:SHOWN_LINKS]],
        }
    return show("site.html", f"Site {name}", {**data, "charts": charts}, rows=data)


def _at_work(tx: sa.Connection, names: Sequence[str]) -> dict[str, Any]:
    """Jobs that pilots of these queues have, and workers there."""
    how: dict[str, Any] = {"queues": names, "limit": SHOWN_PILOTS}
    return {
        "jobs": [pilot_row(one) for one in page_queries.pilots_at_work(tx, **how)],
        "workers": [one._asdict() for one in page_queries.list_workers(tx, **how)],
    }
