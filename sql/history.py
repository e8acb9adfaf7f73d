"""What jobs did over time: kept in steps of ten minutes, so that no page counts a million of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.job_errors import most_telling
from ..core.states import JOBS
from . import bulk
from .tables import ERROR_SOURCES, STEP_SECONDS, job_endings, job_samples, jobs
from .views import all_jobs

STEP = timedelta(seconds=STEP_SECONDS)
_KEYS = ("queue", "gshare", "user_name", "prod_source_label", "status")
_FIGURES = ("n_jobs", "core_seconds", "cpu_seconds", "n_input_files", "input_bytes")
_CODES = tuple(f"{source}_error_code" for source in ERROR_SOURCES)
#: By what endings may be summed up.
DIMENSIONS = ("queue", "gshare", "user_name", "prod_source_label", "status", "cause")


def step_of(moment: datetime) -> datetime:
    """When the ten minutes of a moment began."""
    since_midnight = timedelta(hours=moment.hour, minutes=moment.minute)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (since_midnight // STEP) * STEP


def last_step(tx: sa.Connection) -> datetime | None:
    """The newest step with endings."""
    last: datetime | None = tx.scalar(sa.select(sa.func.max(job_endings.c.at)))
    return last


def first_ending(tx: sa.Connection, *, since: datetime) -> datetime | None:
    """When the first job ended since a moment, of those that are kept."""
    moment = all_jobs.c.modified_at
    return tx.scalar(sa.select(moment).where(*_ended(since, None)).order_by(moment).limit(1))


def book_step(tx: sa.Connection, at: datetime) -> int:
    """Count the jobs that ended within the ten minutes from `at` on, anew; returns how many they were."""
    tx.execute(sa.delete(job_endings).where(job_endings.c.at == at))
    sums: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0] * len(_FIGURES))
    for row in tx.execute(_endings(tx, at)):
        key = (*(row._mapping[name] for name in _KEYS), _cause(row))
        for place, name in enumerate(_FIGURES):
            sums[key][place] += row._mapping[name] or 0
    names = (*_KEYS, "cause", *_FIGURES)
    rows = [{"at": at, **dict(zip(names, (*key, *figures), strict=True))} for key, figures in sums.items()]
    whole = [{name: value if name == "cpu_seconds" else _whole(value) for name, value in row.items()} for row in rows]
    if whole:
        tx.execute(sa.insert(job_endings), whole)
    return sum(int(figures[0]) for figures in sums.values())


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def _ended(since: datetime, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    """A job that is over is not modified any more: both tables have an index by that moment."""
    over = all_jobs.c.status.in_(sorted(JOBS.final))
    return [over, all_jobs.c.modified_at >= since, *([all_jobs.c.modified_at < until] if until else [])]


def _endings(tx: sa.Connection, at: datetime) -> sa.Select[Any]:
    seconds = _seconds_between(tx, all_jobs.c.started_at, all_jobs.c.ended_at)
    by = [*(all_jobs.c[name] for name in _KEYS), *(all_jobs.c[name] for name in _CODES), all_jobs.c.trans_exit_code]
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
    tx.execute(sa.delete(job_samples).where(job_samples.c.at == at))
    going = [state for state in JOBS.rows if state not in JOBS.final]
    by = [jobs.c[name] for name in _KEYS]
    figures = (sa.func.count(), sa.func.sum(jobs.c.core_count))
    counted = sa.select(sa.literal(at, job_samples.c.at.type), *by, *figures).where(jobs.c.status.in_(going))
    tx.execute(sa.insert(job_samples).from_select(["at", *_KEYS, "n_jobs", "n_cores"], counted.group_by(*by)))


def last_sample(tx: sa.Connection) -> datetime | None:
    """When the newest sample was taken that found a job."""
    last: datetime | None = tx.scalar(sa.select(sa.func.max(job_samples.c.at)))
    return last


def forget(tx: sa.Connection, *, before: datetime) -> int:
    """Forget what was before a moment; returns how many rows."""
    return sum(tx.execute(sa.delete(table).where(table.c.at < before)).rowcount for table in (job_endings, job_samples))


def endings(
    tx: sa.Connection, *by: str, since: datetime, only: Mapping[str, Sequence[str]] | None = None
) -> list[sa.Row[Any]]:
    """Sums of jobs that ended since a moment, by `at` or any of `DIMENSIONS`, of those that `only` names.

    Rows have the columns of `by`, `n_jobs`, `core_seconds`, `cpu_seconds`, `n_input_files` and `input_bytes`.
    """
    return _summed(tx, job_endings, by, _FIGURES, since, only)


def samples(
    tx: sa.Connection, *by: str, since: datetime, only: Mapping[str, Sequence[str]] | None = None
) -> list[sa.Row[Any]]:
    """Sums of samples since a moment, as `endings`: with `n_jobs` and `n_cores`."""
    return _summed(tx, job_samples, by, ("n_jobs", "n_cores"), since, only)


def _summed(
    tx: sa.Connection,
    table: sa.Table,
    by: Sequence[str],
    figures: Sequence[str],
    since: datetime,
    only: Mapping[str, Sequence[str]] | None,
) -> list[sa.Row[Any]]:
    keys = [table.c[name] for name in by]
    sums = [sa.cast(sa.func.sum(table.c[name]), table.c[name].type).label(name) for name in figures]
    statement = sa.select(*keys, *sums).where(table.c.at >= since).group_by(*keys).order_by(*keys)
    for name, wanted in (only or {}).items():
        statement = statement.where(bulk.among(tx, table.c[name], list(wanted)))
    return list(tx.execute(statement))
