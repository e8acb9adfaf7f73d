"""Counts of jobs by queue, share, resource type, label and state, kept so that readers need not count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .tables import given_cores, job_counts, jobs

_KEYS = ("queue", "gshare", "resource_type", "prod_source_label", "status")


def replace(tx: sa.Connection, *, now: datetime) -> None:
    """Replace all counts by those of the live jobs; readers see the old counts or the new ones, never a mixture.

    What servers gave to pilots before is in the new counts, and forgotten.
    """
    keys = [jobs.c[key] for key in _KEYS]
    sums = (sa.func.count(), sa.func.sum(jobs.c.core_count))
    counted = sa.select(*keys, *sums, sa.literal(now, job_counts.c.counted_at.type)).group_by(*keys)
    tx.execute(sa.delete(job_counts))
    tx.execute(sa.insert(job_counts).from_select([*_KEYS, "n_jobs", "n_cores", "counted_at"], counted))
    tx.execute(sa.delete(given_cores).where(given_cores.c.counted_at < now))


def set_given(tx: sa.Connection, server: str, cores: Mapping[str, int], *, counted_at: datetime) -> None:
    """Enter what a server process has given to pilots since the jobs were counted, by share, in place of what it said
    before."""
    tx.execute(sa.delete(given_cores).where(given_cores.c.server == server))
    rows = [{"server": server, "gshare": share, "n_cores": n, "counted_at": counted_at} for share, n in cores.items()]
    if rows:
        tx.execute(sa.insert(given_cores), rows)


def given_by_others(tx: sa.Connection, server: str, *, counted_at: datetime) -> dict[str, int]:
    """What all other server processes have given to pilots since the jobs were counted: {share: cores}."""
    statement = (
        sa.select(given_cores.c.gshare, sa.func.sum(given_cores.c.n_cores))
        .where(given_cores.c.server != server, given_cores.c.counted_at == counted_at)
        .group_by(given_cores.c.gshare)
    )
    return {share: int(n) for share, n in tx.execute(statement)}


def of_queues(tx: sa.Connection) -> list[sa.Row[Any]]:
    """The kept counts, by queue."""
    return list(tx.execute(sa.select(job_counts).order_by(*(job_counts.c[key] for key in _KEYS))))


def by_queue(tx: sa.Connection) -> dict[str, dict[str, int]]:
    """The kept counts summed up by queue and state: {queue: {status: n}}."""
    total = sa.func.sum(job_counts.c.n_jobs)
    statement = sa.select(job_counts.c.queue, job_counts.c.status, total).group_by(
        job_counts.c.queue, job_counts.c.status
    )
    counted: dict[str, dict[str, int]] = {}
    for queue, status, n in tx.execute(statement):
        counted.setdefault(queue, {})[status] = int(n)
    return counted
