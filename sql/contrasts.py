"""How the jobs of a task ended by what they have in common: node, queue, processor, input and the like."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ..core.contrasts import MIN_FAILED, Tally
from ..core.states import JobState
from .tables import datasets, job_files, queues
from .views import all_jobs

#: Jobs whose payload did its work; a merge job may still have their outputs.
SUCCEEDED = (JobState.FINISHED, JobState.MERGING)
#: A task that fails everywhere has as many values as jobs: those with the most failures are looked at.
MAX_VALUES = 1000
#: Of a task that has more jobs, the last ones tell how it is now: half a second on PostgreSQL.
MAX_JOBS = 100_000
_ALL = "all"


def tallies(tx: sa.Connection, jeditaskid: int, *, most: int = MAX_JOBS) -> tuple[list[Tally], Tally]:
    """The values that some run jobs of a task share, with at least `MIN_FAILED` failures each, and the counts of all.

    One statement over the jobs of the task, live and archived, and their inputs; over the last `most` that ended.
    """
    rows = tx.execute(_statement(jeditaskid, most)).all()
    found = [Tally(row.attribute, _as_told(row.attribute, row.value), row.failed, row.succeeded) for row in rows]
    whole = next((tally for tally in found if tally.attribute == _ALL), Tally(_ALL, "", 0, 0))
    return [tally for tally in found if tally.attribute != _ALL], whole


def _statement(jeditaskid: int, most: int) -> sa.Select[Any]:
    ended = _ended(jeditaskid, most)
    read = (
        sa.select(job_files.c.lfn, datasets.c.dataset_name, ended.c.pandaid, ended.c.failed)
        .join(job_files, job_files.c.pandaid == ended.c.pandaid)
        .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
        .where(job_files.c.type == "input")
        .cte("read")
    )
    of_jobs = {
        "node": ended.c.node,
        "queue": ended.c.queue,
        "cpu": ended.c.cpu_consumption_unit,
        "container": ended.c.container_name,
        "transformation": ended.c.transformation,
        "resource_type": ended.c.resource_type,
        "hour": _hour(ended.c.started_at),
    }
    parts = [_counted(attribute, value, ended) for attribute, value in of_jobs.items()]
    at_sites = ended.join(queues, queues.c.queue == ended.c.queue)
    parts.append(_counted("site", queues.c.site, at_sites, ended.c.failed))
    for attribute, name in (("dataset", "dataset_name"), ("input", "lfn")):
        once = sa.select(read.c[name], read.c.pandaid, read.c.failed).distinct().subquery()  # a job counts once
        parts.append(_counted(attribute, once.c[name], once))
    counted = sa.union_all(*parts).subquery()
    largest = sa.select(counted).order_by(counted.c.failed.desc(), counted.c.value).limit(MAX_VALUES).subquery()
    whole = _sums(_ALL, sa.literal(""), ended.c.failed).select_from(ended)
    return sa.select(sa.union_all(sa.select(largest), whole).subquery())


def _ended(jeditaskid: int, most: int) -> sa.CTE:
    """The last run jobs of a task that ended, with 1 for those that failed."""
    names = "pandaid queue node container_name transformation resource_type cpu_consumption_unit started_at"
    return (
        sa.select(
            *(all_jobs.c[name] for name in names.split()),
            sa.case((all_jobs.c.status == JobState.FAILED, 1), else_=0).label("failed"),
        )
        .where(
            all_jobs.c.jeditaskid == jeditaskid,
            all_jobs.c.kind == "run",
            all_jobs.c.status.in_((JobState.FAILED, *SUCCEEDED)),
        )
        .order_by(all_jobs.c.pandaid.desc())
        .limit(most)
        .cte("ended")
    )


def _counted(
    attribute: str, value: sa.ColumnElement[str], source: sa.FromClause, failed: sa.ColumnElement[int] | None = None
) -> sa.Select[str, str, int, int]:
    """The values of an attribute that enough failed jobs have."""
    failed = source.c.failed if failed is None else failed
    counted = _sums(attribute, value, failed).select_from(source).where(value.is_not(None))
    return counted.group_by(value).having(sa.func.sum(failed) >= MIN_FAILED)


def _sums(attribute: str, value: sa.ColumnElement[str], failed: sa.ColumnElement[int]) -> sa.Select[str, str, int, int]:
    return sa.select(
        sa.literal(attribute).label("attribute"),
        value.label("value"),
        sa.func.coalesce(sa.func.sum(failed), 0).label("failed"),
        sa.func.coalesce(sa.func.sum(1 - failed), 0).label("succeeded"),
    )


def _hour(moment: sa.ColumnElement[datetime]) -> sa.ColumnElement[str]:
    """The hour of a moment, counted from 1970: the same in whatever time zone the session is."""
    return sa.cast(sa.cast(sa.extract("epoch", moment), sa.BigInteger) // 3600, sa.String(20))


def _as_told(attribute: str, value: str) -> str:
    """The value as people know it: the processor without the unit before it, the hour as a time."""
    if attribute == "cpu":
        return value.removeprefix("s+")
    if attribute == "hour":
        return datetime.fromtimestamp(int(value) * 3600, UTC).strftime("%Y-%m-%d %H:00")
    return value
