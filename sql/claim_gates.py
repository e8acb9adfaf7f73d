"""Why a claim takes a job or does not: the conditions of the claim as gates, counted over the jobs that wait.

The conditions are those of the claim itself (`jobs.LIMITS`), each added to those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from ..core.gates import GateCount
from ..core.states import JOBS, QUEUED, JobState
from .claims import LIMITS, Claim, limits_of, limits_set
from .tables import jobs

#: What a limit is about, by its name: what is told of it.
GATE_NAMES: Mapping[str, str] = {
    "labels": "label",
    "memory_mb": "memory",
    "disk_mb": "scratch disk",
    "remaining_seconds": "remaining time",
    "resource_type": "resource type",
    "working_group": "working group",
}
#: What the limits that are amounts are compared with: a job that needs little more is nearest to being taken.
_NEEDS = {
    "memory_mb": jobs.c.min_ram_count_mb,
    "disk_mb": jobs.c.max_disk_count_mb,
    "remaining_seconds": jobs.c.max_walltime_seconds,
}
_CHANGES: Mapping[str, Callable[[Any, Claim], str]] = {
    "labels": lambda job, asked: f"a pilot for jobs with the label {job.prod_source_label}, not {asked.labels[0]}",
    "memory_mb": lambda job, asked: f"a pilot with {job.min_ram_count_mb} MB of memory instead of {asked.memory_mb}",
    "disk_mb": lambda job, asked: f"a pilot with {job.max_disk_count_mb} MB of scratch disk instead of {asked.disk_mb}",
    "remaining_seconds": lambda job, asked: (
        f"a pilot with {job.max_walltime_seconds} seconds left instead of {asked.remaining_seconds}"
    ),
    "resource_type": lambda job, asked: f"a pilot for jobs of type {job.resource_type}, not {asked.resource_type}",
    "working_group": lambda job, asked: f"a pilot for {job.working_group or 'any group'}, not {asked.working_group}",
}


def claim_gates(tx: sa.Connection, asked: Claim, *of: sa.ColumnElement[bool]) -> list[GateCount]:
    """How many of the jobs that wait at the queue pass each condition of a claim.

    `of` limits which jobs are looked at. The first gate is that a job is activated; the last `n_out` is what the
    claim could take, in the order of shares and priorities.
    """
    names = limits_set(asked)
    waiting = [jobs.c.queue == sa.bindparam("the_queue"), jobs.c.status.in_(list(QUEUED)), *of]
    conditions = [jobs.c.status == JobState.ACTIVATED, *(LIMITS[name] for name in names)]
    passing = [sa.func.count(sa.case((sa.and_(*conditions[: n + 1]), 1))) for n in range(len(conditions))]
    given = limits_of(asked)
    n_in, *counted = tx.execute(sa.select(sa.func.count(), *passing).where(*waiting), given).one()
    gates = []
    for number, (name, n_out) in enumerate(zip(["", *names], counted, strict=True)):
        example = change = ""
        if n_out < n_in:
            before = [*waiting, *conditions[:number]]
            job = _nearest(tx, name, before, conditions[number], given)
            example, change = (str(job.pandaid), _change(name, job, asked)) if job else ("", "")
        gates.append(GateCount(GATE_NAMES.get(name, "activated"), int(n_in), int(n_out), example, change))
        n_in = n_out
    return gates


def _nearest(
    tx: sa.Connection,
    name: str,
    before: list[sa.ColumnElement[bool]],
    condition: sa.ColumnElement[bool],
    given: Mapping[str, Any],
) -> sa.Row[Any] | None:
    """The job that comes to a gate, does not pass, and is nearest to passing."""
    refused = sa.case((condition, 0), else_=1) == 1  # also where the condition is NULL
    order = [_NEEDS[name]] if name in _NEEDS else []
    return tx.execute(sa.select(jobs).where(*before, refused).order_by(*order, jobs.c.pandaid).limit(1), given).first()


def _change(name: str, job: sa.Row[Any], asked: Claim) -> str:
    if name:
        return _CHANGES[name](job, asked)
    row = JOBS.rows[JobState(job.status)]
    return f"it is {job.status}, {row.meaning}; next: {row.mover}"


def jobs_before(tx: sa.Connection, job: sa.Row[Any]) -> int:
    """How many activated jobs of the same share at the same queue are taken before this one."""
    statement = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(
            jobs.c.queue == job.queue,
            jobs.c.status == JobState.ACTIVATED,
            jobs.c.gshare == job.gshare,
            sa.or_(
                jobs.c.current_priority > job.current_priority,
                sa.and_(jobs.c.current_priority == job.current_priority, jobs.c.pandaid < job.pandaid),
            ),
        )
    )
    return int(tx.execute(statement).scalar_one())


def of_task(jeditaskid: int) -> sa.ColumnElement[bool]:
    """The condition that a job is a task's."""
    return jobs.c.jeditaskid == jeditaskid


def one_job(pandaid: int) -> sa.ColumnElement[bool]:
    """The condition that a job is this one."""
    return jobs.c.pandaid == pandaid


def waiting_at(tx: sa.Connection, jeditaskid: int) -> list[sa.Row[Any]]:
    """The queues where jobs of a task wait, those with most first: (queue, n_jobs)."""
    n_jobs = sa.func.count().label("n_jobs")
    statement = (
        sa.select(jobs.c.queue, n_jobs)
        .where(jobs.c.jeditaskid == jeditaskid, jobs.c.status.in_(list(QUEUED)))
        .group_by(jobs.c.queue)
        .order_by(n_jobs.desc(), jobs.c.queue)
    )
    return list(tx.execute(statement))
