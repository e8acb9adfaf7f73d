"""Heartbeats of running jobs: written many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ..core.states import JobState
from . import bulk, job_records
from .job_records import Told
from .tables import job_reports, jobs


@dataclass(frozen=True)
class Heartbeat:
    """What a pilot says of a job that goes on: `columns` of `jobs`, and `report` for its row of `job_reports`.

    `records` add to its flight record; most heartbeats have none.
    """

    pandaid: int
    attempt_nr: int
    lease_until: datetime
    at: datetime
    columns: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[Told, ...] = ()

    @property
    def row(self) -> dict[str, Any]:
        """What it sets in `jobs`, with the job and attempt that it is about."""
        moments = {"lease_until": self.lease_until, "heartbeat_at": self.at, "modified_at": self.at}
        return {"pandaid": self.pandaid, "attempt_nr": self.attempt_nr, **self.columns, **moments}


def write(tx: sa.Connection, beats: Sequence[Heartbeat]) -> int:
    """Write heartbeats, at most one of each job; returns how many counted.

    Those of jobs that have ended or moved on since change nothing: attempt and state are the fence.
    """
    counted: set[int] = set()
    for rows in bulk.alike(beat.row for beat in sorted(beats, key=lambda beat: beat.pandaid)):
        counted |= _renew(tx, rows)
    told = [beat for beat in beats if beat.pandaid in counted and beat.report]
    for rows in bulk.alike({"pandaid": beat.pandaid, **beat.report} for beat in told):
        bulk.upsert(tx, job_reports, "pandaid", rows)
    if recorded := {beat.pandaid: beat.records for beat in beats if beat.records and beat.pandaid in counted}:
        job_records.add(tx, recorded, now=max(beat.at for beat in beats))
    return len(counted)


def _renew(tx: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> set[int]:
    names = frozenset(rows[0]) - {"pandaid", "attempt_nr"}
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
