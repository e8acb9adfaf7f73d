"""Reads the snapshot of the grid that brokers decide by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.tagging import ResourceType
from ..sql import grid as grid_sql
from ..sql import queues
from ..sql import settings as shared_settings
from ..sql.link_imports import METRICS_HOURS
from .contracts import StorageView, from_row
from .grid import Activity, Amount, Beside, Grid, Inputs, Link, Work

#: Inputs whose places stand for all that are ready: those that the next jobs take.
SAMPLE_FILES = 1000


def read_grid(
    tx: sa.Connection, task: sa.Row[Any], *, now: datetime, work: Work = Work.RUN, whole: bool = False, **more: Any
) -> Grid:
    """The snapshot for a row of `tasks`; only what concerns that task is read, or with `whole` what may concern any.

    `more` are further fields of `Grid`; where the inputs are is looked up only if they do not say it.
    """
    storages = grid_sql.storage_rows(tx)
    if "inputs" not in more:
        found = places(grid_sql.places_of_ready(tx, task.jeditaskid, limit=SAMPLE_FILES), storages)
        more["inputs"] = replace(found, beside=read_beside(tx, task.jeditaskid))
    views = {row.storage: from_row(StorageView, row) for row in storages}
    nucleus = views.get(task.nucleus) if task.nucleus else None
    site = nucleus.site if nucleus else None
    asks_for_software = whole or task.architecture or task.container_name or task.split_rule.get("transHome")
    numbers = shared_settings.numbers(tx, task.vo)
    oldest = now - timedelta(hours=numbers(METRICS_HOURS))
    return Grid(
        now=now,
        numbers=numbers,
        work=work,
        resource_types=[ResourceType(**row._mapping) for row in queues.list_resource_types(tx)],
        links={
            (row.source, row.destination): _link(row, oldest)
            for row in (grid_sql.links_to(tx, None if whole else site) if site or whole else ())
        },
        storages=views,
        activity={row.queue: from_row(Activity, row) for row in grid_sql.activities(tx)},
        software=grid_sql.software_documents(tx) if asks_for_software or task.split_rule.get("transUses") else {},
        **more,
    )


def _link(row: sa.Row[Any], oldest: datetime) -> Link:
    """A link without what was measured too long ago: the source of that may have been down since."""
    if row.measured_at is not None and row.measured_at < oldest:
        return from_row(Link, row, mbps=None, queued_files=0, queued=None)
    return from_row(Link, row)


def read_beside(tx: sa.Connection, jeditaskid: int) -> Beside:
    """The size of what the jobs of a task get of its secondary streams, by the mean of their files."""
    job_bytes = file_bytes = 0.0
    for row in grid_sql.secondary_streams(tx, jeditaskid, limit=SAMPLE_FILES):
        if row.selection.get("is_whole"):
            job_bytes += row.mean_bytes * row.n_files
        elif row.selection.get("ratio"):
            file_bytes += row.mean_bytes * row.selection["ratio"]
        else:
            job_bytes += row.mean_bytes * (row.selection.get("n_files_per_job") or 1)
    return Beside(job_bytes, file_bytes)


def places(files: Sequence[sa.Row[Any]], storages: Sequence[sa.Row[Any]]) -> Inputs:
    """At which sites files are, by the storage whose URL theirs begins with.

    If none of them is at a storage of ours, they are as near to one queue as to any other.
    """
    prefixes = [(row.url, row.site) for row in storages]
    at_sites: dict[str, list[int]] = {}
    n_files = size_bytes = n_events = 0
    for file in files:
        n_files += 1
        size_bytes += file.size_bytes
        n_events += file.n_events or 0
        for site in {site for url, site in prefixes if file.url and file.url.startswith(url)}:
            held = at_sites.setdefault(site, [0, 0])
            held[0] += 1
            held[1] += file.size_bytes
    return Inputs(
        total=Amount(n_files, size_bytes),
        n_events=n_events,
        at_sites={site: Amount(*held) for site, held in at_sites.items()},
        are_anywhere=not at_sites,
    )
