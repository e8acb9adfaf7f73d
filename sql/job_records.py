"""Flight records of jobs: samples, process tree and the end of the output, put together of what pilots report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..core.flight_records import MOST_SAMPLES, Sample, joined, thinned
from . import bulk
from .tables import job_records
from .views import all_jobs

STREAMS = ("stdout", "stderr")


@dataclass(frozen=True)
class Piece:
    """A part of an output, which begins so many bytes after its beginning."""

    at: int
    text: str


@dataclass(frozen=True)
class Told:
    """What one report of a pilot adds to the record of its job; `values` are columns of `job_records`."""

    samples: Sequence[Sample] = ()
    pieces: Mapping[str, Piece] = field(default_factory=dict)  #: by `STREAMS`
    values: Mapping[str, Any] = field(default_factory=dict)


def add(tx: sa.Connection, told: Mapping[int, Sequence[Told]], *, now: datetime) -> None:
    """Add what was told of jobs, by their ids, each in the order in which it came."""
    if not told:
        return
    wanted = sa.select(job_records).where(bulk.among(tx, job_records.c.pandaid, sorted(told)))
    known = {row.pandaid: row._mapping for row in tx.execute(wanted.order_by(job_records.c.pandaid).with_for_update())}
    rows = [{"pandaid": pandaid, **_added(known.get(pandaid, {}), told[pandaid], now)} for pandaid in sorted(told)]
    for some in bulk.alike(rows):
        bulk.upsert(tx, job_records, "pandaid", some)


def _added(known: Mapping[Any, Any], told: Sequence[Told], now: datetime) -> dict[str, Any]:
    """The columns that change, so that a text that stays is not written again."""
    values: dict[str, Any] = {"updated_at": now}
    samples: list[Sample] = known.get("samples") or []
    for one in told:
        values |= one.values
        until = samples[-1][0] if samples else 0
        if new := [sample for sample in one.samples if sample[0] > until]:
            samples = values["samples"] = thinned([*samples, *new], MOST_SAMPLES)
        for name, piece in one.pieces.items():
            before = {**known, **values}
            text, end = before.get(name) or "", before.get(f"{name}_end") or 0
            now_text, now_end = joined(text, end, piece.text, piece.at)
            if now_end > end:
                values |= {name: now_text, f"{name}_end": now_end}
    return values


def of_job(tx: sa.Connection, pandaid: int) -> sa.Row[Any] | None:
    """The record of a job; None when its pilot has sent none."""
    return tx.execute(sa.select(job_records).where(job_records.c.pandaid == pandaid)).first()


class Progress(NamedTuple):
    """Where a job is, what its pilot is told, and how many bytes of each of `STREAMS` are known to be written."""

    status: str
    order: str | None
    ends: tuple[int, ...]


def progress_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, Progress]:
    """The progress of jobs, live or archived: {pandaid: progress}."""
    columns = [all_jobs.c.pandaid, all_jobs.c.status, all_jobs.c.command_to_pilot]
    ends = [job_records.c[f"{name}_end"] for name in STREAMS]
    wanted = sa.select(*columns, *ends).outerjoin_from(
        all_jobs, job_records, job_records.c.pandaid == all_jobs.c.pandaid
    )
    rows = tx.execute(wanted.where(bulk.among(tx, all_jobs.c.pandaid, pandaids)))
    return {row[0]: Progress(row[1], row[2], tuple(end or 0 for end in row[3:])) for row in rows}


def texts_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, dict[str, tuple[str, int]]]:
    """The ends of the streams of jobs, and where they end: {pandaid: {stream: (text, bytes)}}."""
    columns = [job_records.c.pandaid, *(job_records.c[column] for name in STREAMS for column in (name, f"{name}_end"))]
    wanted = sa.select(*columns).where(bulk.among(tx, job_records.c.pandaid, pandaids))
    return {
        row.pandaid: {name: (row._mapping[name] or "", row._mapping[f"{name}_end"] or 0) for name in STREAMS}
        for row in tx.execute(wanted)
    }
