"""Steps of many jobs at once, each with figures of its own: what pilots report within some milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ..core.errors import IllegalTransition, Stale
from ..core.states import JobState
from . import bulk, job_records
from .job_records import Told
from .jobs import JobRef, line_of_step, move_job, of_job, values_of_step
from .ready import Ready
from .tables import job_events, job_reports, jobs


class Step(NamedTuple):
    """A step of a job: `values` are columns of `jobs`, `report` of its row of reports; `record` adds to its record."""

    held: JobRef
    to: JobState
    actor: str
    why: str
    now: datetime
    request_id: str | None
    values: Mapping[str, Any]
    report: Mapping[str, Any]
    record: Told | None = None


def take(tx: sa.Connection, step: Step) -> None:
    """Take a step. Raises `Stale` when somebody else moved the job first, and `IllegalTransition`."""
    how: dict[str, Any] = {name: getattr(step, name) for name in ("actor", "why", "now", "request_id", "report")}
    move_job(tx, step.held, step.to, **how, **step.values)
    if step.record is not None:
        job_records.add(tx, {step.held.pandaid: [step.record]}, now=step.now)


def take_all(tx: sa.Connection, steps: Sequence[Step]) -> set[int]:
    """Take steps of different jobs; returns the jobs that moved.

    Those that somebody else moved first, or that may not take the step, are left alone. On PostgreSQL each kind of step
    is one statement.
    """
    if tx.dialect.name != "postgresql":
        return {step.held.pandaid for step in steps if _is_taken(tx, step)}
    moved: set[int] = set()
    for rows in bulk.alike(row for step in sorted(steps, key=lambda step: step.held) for row in _rows(step)):
        moved |= {row.pandaid for row in _take_all(frozenset(rows[0])).all(tx, bulk.as_lists(rows))}
    if told := {step.held.pandaid: [step.record] for step in steps if step.record and step.held.pandaid in moved}:
        job_records.add(tx, told, now=steps[-1].now)
    return moved


def _is_taken(tx: sa.Connection, step: Step) -> bool:
    with suppress(Stale, IllegalTransition):
        take(tx, step)
        return True
    return False


def _rows(step: Step) -> list[dict[str, Any]]:
    """What a step gives to the statement: fence, columns, line in the log, report. Nothing if it may not be taken."""
    held = step.held
    try:
        values = values_of_step(held.status, step.to, step.now, step.values)
    except IllegalTransition:
        return []
    line = line_of_step(step.to, step.actor, step.why, step.now, step.request_id)
    return [
        {
            **of_job(held.pandaid, held.attempt_nr, held.status),
            **{f"the_{name}": value for name, value in values.items()},
            **{f"of_{name}": value for name, value in line.items()},
            **{f"told_{name}": value for name, value in step.report.items()},
        }
    ]


@lru_cache
def _take_all(names: frozenset[str]) -> Ready:
    """The statement for steps that give these: the jobs, their logs and their reports, all or none of each."""
    values, line, told = (_after(prefix, names, table) for prefix, table in _TABLES.items())
    fence = {"pandaid": jobs.c.pandaid, "attempt_nr": jobs.c.attempt_nr, "old_status": jobs.c.status}
    columns = {**fence, **{name: column for part in (values, line, told) for name, column in part.items()}}
    rows = sa.select(bulk.given_as(columns)).cte("given")
    moved = (
        sa.update(jobs)
        .where(*(column == rows.c[name] for name, column in fence.items()))
        .values({column.name: rows.c[name] for name, column in values.items()})
        .returning(jobs.c.pandaid)
        .prefix_with("/* steps.take_all */")
        .cte("moved")
    )
    of_moved = rows.join(moved, rows.c.pandaid == moved.c.pandaid)
    logged = [*(rows.c[name] for name in fence), *(rows.c[name] for name in line)]
    into = [*fence, *(column.name for column in line.values())]
    log = sa.insert(job_events).from_select(into, sa.select(*logged).select_from(of_moved)).cte("logged")
    statement = sa.select(moved.c.pandaid).add_cte(log)
    if not told:
        return Ready(statement)
    reported = sa.select(rows.c.pandaid, *(rows.c[name] for name in told)).select_from(of_moved)
    told_names = [column.name for column in told.values()]
    entered = postgresql.insert(job_reports).from_select(["pandaid", *told_names], reported)
    return Ready(statement.add_cte(bulk.or_set(entered, "pandaid", told_names).cte("reported")))


_TABLES = {"the_": jobs, "of_": job_events, "told_": job_reports}


def _after(prefix: str, names: frozenset[str], table: sa.Table) -> dict[str, sa.Column[Any]]:
    """The columns of a table that names with a prefix mean, by these names."""
    found = sorted(name for name in names if name.startswith(prefix))
    return {name: table.c[name.removeprefix(prefix)] for name in found}
