"""What jobs did over time: kept in steps of ten minutes, so that no page counts a million of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.job_errors import most_telling
from ..core.states import JOBS
from .tables import ERROR_SOURCES, STEP_SECONDS, job_endings, job_samples, jobs
from .views import all_jobs

STEP = timedelta(seconds=STEP_SECONDS)
#: By what sums are kept, one at a time; the empty one is of all jobs.
DIMENSIONS = ("", "queue", "gshare", "user_name", "prod_source_label")
_COLUMNS = tuple(name for name in DIMENSIONS if name)
_FIGURES = ("n_jobs", "core_seconds", "cpu_seconds", "n_input_files", "input_bytes")
_CODES = tuple(f"{source}_error_code" for source in ERROR_SOURCES)


def step_of(moment: datetime) -> datetime:
    """When the ten minutes of a moment began."""
    since_midnight = timedelta(hours=moment.hour, minutes=moment.minute)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (since_midnight // STEP) * STEP


def last_step(tx: sa.Connection) -> datetime | None:
    """The newest step with endings."""
    last: datetime | None = tx.scalar(sa.select(sa.func.max(job_endings.c.at)).where(job_endings.c.dimension == ""))
    return last


def first_step(tx: sa.Connection) -> datetime | None:
    """The oldest step that is kept."""
    tables = (job_endings, job_samples)
    found = [tx.scalar(sa.select(sa.func.min(table.c.at)).where(table.c.dimension == "")) for table in tables]
    return min((at for at in found if at is not None), default=None)


def first_ending(tx: sa.Connection, *, since: datetime) -> datetime | None:
    """When the first job ended since a moment, of those that are kept."""
    moment = all_jobs.c.modified_at
    return tx.scalar(sa.select(moment).where(*_ended(since, None)).order_by(moment).limit(1))


def book_step(tx: sa.Connection, at: datetime) -> int:
    """Count the jobs that ended within the ten minutes from `at` on, anew; returns how many they were."""
    for dimension in DIMENSIONS:
        tx.execute(sa.delete(job_endings).where(job_endings.c.dimension == dimension, job_endings.c.at == at))
    sums: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0] * len(_FIGURES))
    for row in tx.execute(_endings(tx, at)):
        cause = _cause(row)
        for dimension in DIMENSIONS:
            value = row._mapping[dimension] if dimension else ""
            figures = sums[dimension, value, row.status, cause]
            for place, name in enumerate(_FIGURES):
                figures[place] += row._mapping[name] or 0
    if sums:
        tx.execute(sa.insert(job_endings), [_ending(at, key, figures) for key, figures in sums.items()])
    return sum(int(figures[0]) for key, figures in sums.items() if not key[0])


def _ending(at: datetime, key: tuple[str, ...], figures: Sequence[float]) -> dict[str, Any]:
    keys = dict(zip(("dimension", "value", "status", "cause"), key, strict=True))
    values = zip(_FIGURES, figures, strict=True)
    return {"at": at, **keys, **{name: float(n) if name == "cpu_seconds" else int(n) for name, n in values}}


def _ended(since: datetime, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    """A job that is over is not modified any more: both tables have an index by that moment."""
    over = all_jobs.c.status.in_(sorted(JOBS.final))
    return [over, all_jobs.c.modified_at >= since, *([all_jobs.c.modified_at < until] if until else [])]


def _endings(tx: sa.Connection, at: datetime) -> sa.Select[Any]:
    seconds = _seconds_between(tx, all_jobs.c.started_at, all_jobs.c.ended_at)
    by = [all_jobs.c[name] for name in (*_COLUMNS, "status", *_CODES, "trans_exit_code")]
    figures = (
        sa.func.count().label("n_jobs"),
        sa.func.sum(seconds * all_jobs.c.core_count).label("core_seconds"),
        sa.func.sum(all_jobs.c.cpu_consumption_seconds).label("cpu_seconds"),
        sa.func.sum(all_jobs.c.n_input_files).label("n_input_files"),
        sa.func.sum(all_jobs.c.input_file_bytes).label("input_bytes"),
    )
    return sa.select(*by, *figures).where(*_ended(at, at + STEP)).group_by(*by)


def _seconds_between(tx: sa.Connection, begin: Any, end: Any) -> sa.ColumnElement[Any]:
    if tx.dialect.name == "sqlite":
        return (sa.func.julianday(end) - sa.func.julianday(begin)) * 86400.0
    return sa.cast(sa.extract("epoch", end - begin), sa.Float)


def _cause(row: sa.Row[Any]) -> str:
    values = row._mapping
    errors = [(source, values[f"{source}_error_code"] or 0, "") for source in ERROR_SOURCES]
    told = most_telling([error for error in (*errors, ("trans", row.trans_exit_code or 0, "")) if error[1]])
    return f"{told[0]}:{told[1]}" if told is not None and row.status != "finished" else ""


def take_sample(tx: sa.Connection, at: datetime) -> None:
    """Count the jobs that are not over, as a sample at a moment; another one at that moment goes."""
    for dimension in DIMENSIONS:
        tx.execute(sa.delete(job_samples).where(job_samples.c.dimension == dimension, job_samples.c.at == at))
    going = [state for state in JOBS.rows if state not in JOBS.final]
    by = [jobs.c[name] for name in (*_COLUMNS, "status")]
    figures = (sa.func.count().label("n_jobs"), sa.func.sum(jobs.c.core_count).label("n_cores"))
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for row in tx.execute(sa.select(*by, *figures).where(jobs.c.status.in_(going)).group_by(*by)):
        for dimension in DIMENSIONS:
            found = sums[dimension, row._mapping[dimension] if dimension else "", row.status]
            found[0] += int(row.n_jobs)
            found[1] += int(row.n_cores)
    rows = [
        {"at": at, "dimension": key[0], "value": key[1], "status": key[2], "n_jobs": n_jobs, "n_cores": n_cores}
        for key, (n_jobs, n_cores) in sums.items()
    ]
    if rows:
        tx.execute(sa.insert(job_samples), rows)


def last_sample(tx: sa.Connection) -> datetime | None:
    """When the newest sample was taken that found a job."""
    last: datetime | None = tx.scalar(sa.select(sa.func.max(job_samples.c.at)).where(job_samples.c.dimension == ""))
    return last


def forget(tx: sa.Connection, *, before: datetime) -> int:
    """Forget what was before a moment; returns how many rows."""
    return sum(
        tx.execute(sa.delete(table).where(table.c.dimension == dimension, table.c.at < before)).rowcount
        for table in (job_endings, job_samples)
        for dimension in DIMENSIONS
    )


@dataclass(frozen=True)
class Of:
    """Which jobs: those of one dimension, of one value of it, or of several (`among`); of some states, or one cause,
    if these are named."""

    dimension: str = ""
    value: str | None = None
    statuses: Sequence[str] = ()
    cause: str | None = None
    among: Sequence[str] | None = None


ALL = Of()


def endings(tx: sa.Connection, *by: str, since: datetime, of: Of = ALL) -> list[sa.Row[Any]]:
    """Sums of jobs that ended since a moment, by any of `at`, `value`, `status` and `cause`.

    Rows have these columns, `n_jobs`, `core_seconds`, `cpu_seconds`, `n_input_files` and `input_bytes`.
    """
    statement = _summed(job_endings, by, _FIGURES, since, of)
    return list(tx.execute(statement if of.cause is None else statement.where(job_endings.c.cause == of.cause)))


def samples(tx: sa.Connection, *by: str, since: datetime, of: Of = ALL) -> list[sa.Row[Any]]:
    """Sums of samples since a moment, by any of `at`, `value` and `status`: with `n_jobs` and `n_cores`."""
    return list(tx.execute(_summed(job_samples, by, ("n_jobs", "n_cores"), since, of)))


def _summed(table: sa.Table, by: Sequence[str], figures: Sequence[str], since: datetime, of: Of) -> sa.Select[Any]:
    keys = [table.c[name] for name in by]
    sums = [sa.cast(sa.func.sum(table.c[name]), table.c[name].type).label(name) for name in figures]
    statement = sa.select(*keys, *sums).where(table.c.dimension == of.dimension, table.c.at >= since)
    if of.value is not None:
        statement = statement.where(table.c.value == of.value)
    if of.among is not None:
        statement = statement.where(table.c.value.in_(of.among))
    if of.statuses:
        statement = statement.where(table.c.status.in_(list(of.statuses)))
    return statement.group_by(*keys).order_by(*keys)
