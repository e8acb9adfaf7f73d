"""Heartbeats of running jobs: written many at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ..core.states import JobState
from . import bulk
from .job_reports import store_report
from .tables import job_reports, jobs


@dataclass(frozen=True)
class Heartbeat:
    """What a pilot says of a job that goes on: `columns` of `jobs`, and `report` for its row of `job_reports`."""

    pandaid: int
    attempt_nr: int
    lease_until: datetime
    at: datetime
    columns: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """All columns of `jobs` that it sets."""
        moments = {"lease_until": self.lease_until, "heartbeat_at": self.at, "modified_at": self.at}
        return {**self.columns, **moments}


def write(tx: sa.Connection, beats: Sequence[Heartbeat]) -> int:
    """Write heartbeats, at most one of each job; returns how many counted.

    Those of jobs that have ended or moved on since change nothing: attempt and state are the fence.
    """
    alike: dict[frozenset[str], list[Heartbeat]] = defaultdict(list)
    for beat in sorted(beats, key=lambda beat: beat.pandaid):
        alike[frozenset(beat.values)].append(beat)
    counted: set[int] = set()
    for names, some in alike.items():
        counted |= _renew(tx, names, some)
    for beat in beats:
        if beat.pandaid in counted and tx.dialect.name != "postgresql":
            store_report(tx, beat.pandaid, beat.report)
    if tx.dialect.name == "postgresql":
        _store_reports(tx, [beat for beat in beats if beat.pandaid in counted])
    return len(counted)


def _renew(tx: sa.Connection, names: frozenset[str], beats: Sequence[Heartbeat]) -> set[int]:
    rows = [{"pandaid": beat.pandaid, "attempt_nr": beat.attempt_nr, **beat.values} for beat in beats]
    if tx.dialect.name == "postgresql":
        return set(tx.scalars(_renew_all(names), bulk.as_lists(rows)))
    each = _renewal(names)
    return {row["pandaid"] for row in rows if tx.scalar(each, {f"the_{name}": row[name] for name in row}) is not None}


@lru_cache
def _renew_all(names: frozenset[str]) -> Any:
    keys = ("pandaid", "attempt_nr")
    given = bulk.given([jobs.c[name] for name in (*keys, *sorted(names))])
    return _setting({name: given.c[name] for name in (*keys, *names)})


@lru_cache
def _renewal(names: frozenset[str]) -> Any:
    return _setting({name: sa.bindparam(f"the_{name}") for name in ("pandaid", "attempt_nr", *names)})


def _setting(given: Mapping[str, Any]) -> Any:
    values = {name: value for name, value in given.items() if name not in ("pandaid", "attempt_nr")}
    fence = (jobs.c.pandaid == given["pandaid"], jobs.c.attempt_nr == given["attempt_nr"])
    statement = sa.update(jobs).where(*fence, jobs.c.status == JobState.RUNNING).values(values)
    return statement.returning(jobs.c.pandaid).prefix_with("/* heartbeats.write */")


def _store_reports(tx: sa.Connection, beats: Sequence[Heartbeat]) -> None:
    alike: dict[frozenset[str], list[dict[str, Any]]] = defaultdict(list)
    for beat in beats:
        if beat.report:
            alike[frozenset(beat.report)].append({"pandaid": beat.pandaid, **beat.report})
    for names, rows in alike.items():
        bulk.upsert(tx, job_reports, "pandaid", tuple(sorted(names)), rows)
