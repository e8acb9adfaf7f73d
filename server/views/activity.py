"""What jobs did over a time, as several pages show it: charts, sums, causes of failures, and what runs now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.job_errors import meaning_of, who_must_act
from ...sql import counts, history
from ...sql.history import ALL, Of
from .chart import Chart, averaged, over_time

#: The longest list of queues, shares, users or causes beside others.
SHOWN = 10
#: No chart is of a shorter time.
LEAST = timedelta(hours=2)


def begin(tx: sa.Connection, since: datetime, until: datetime) -> datetime:
    """Where charts of a time begin: a young system has nothing to show of the time before it."""
    first = history.first_step(tx) or until
    return max(since, min(first, until - LEAST))


def charts(tx: sa.Connection, since: datetime, until: datetime, of: Of = ALL) -> list[Chart]:
    """Jobs that ended, and jobs by state."""
    since = begin(tx, since, until)
    ended = history.endings(tx, "at", "status", since=since, of=of)
    going = history.samples(tx, "at", "status", since=since, of=of)
    return [
        over_time("Jobs that ended", "jobs", _by_status(ended), since=since, until=until),
        averaged(over_time("Jobs by state", "jobs", _by_status(going), since=since, until=until)),
    ]


def _by_status(rows: Iterable[Any]) -> Iterable[tuple[datetime, str, float]]:
    return ((row.at, row.status, row.n_jobs) for row in rows)


def ended(tx: sa.Connection, since: datetime, of: Of = ALL) -> dict[str, int]:
    """How many jobs ended in each state."""
    return {row.status: row.n_jobs for row in history.endings(tx, "status", since=since, of=of)}


def causes(tx: sa.Connection, since: datetime, of: Of = ALL, *, limit: int = SHOWN) -> list[dict[str, Any]]:
    """Failures by cause, the most frequent first: `cause`, `n`, `core_hours`, `meaning`, and `who` must act."""
    rows = history.endings(tx, "cause", since=since, of=replace(of, statuses=["failed"]))
    return [
        {
            "cause": row.cause,
            "n": row.n_jobs,
            "core_hours": round(row.core_seconds / 3600, 1),
            **_explained(row.cause),
        }
        for row in sorted(rows, key=lambda one: -one.n_jobs)[:limit]
    ]


def _explained(cause: str) -> dict[str, Any]:
    source, _, code = cause.partition(":")
    if not code:
        return {"meaning": "the job carries no error code", "who": None}
    return {"meaning": meaning_of(source, int(code)), "who": who_must_act(source, int(code))}


@dataclass(frozen=True)
class Running:
    """Cores that run: {queue, gshare or user_name: [{name, n_jobs, n_cores}]}, those with most first.

    `sampled_at` is when; None where they were counted just now, or where the last sample is old, as there have been
    none since.
    """

    by: dict[str, list[dict[str, Any]]]
    sampled_at: datetime | None = None


def running(tx: sa.Connection, now: datetime, *names: str) -> Running:
    """Cores that run, by each of these columns.

    Few jobs are counted for whoever asks; of many the last sample is told.
    """
    if counts.counted_many(tx, now=now) is None:
        return Running({name: _most(counts.running_now(tx, name)) for name in names})
    last = history.last_sample(tx)
    if last is None or now - last >= 2 * history.STEP:
        return Running({name: [] for name in names})
    only = {name: Of(name, statuses=["running"]) for name in names}
    return Running({name: _most(history.samples(tx, "value", since=last, of=of)) for name, of in only.items()}, last)


def _most(rows: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {"name": row.value, "n_jobs": row.n_jobs, "n_cores": row.n_cores}
        for row in sorted(rows, key=lambda one: -one.n_cores)
    ]
