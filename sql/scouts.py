"""Scouts of tasks: how many there are, when their figures are due, and what they reported (manual ch. 15).

`optimisation_stage` of a task says how far its figures are: 0 until the scouts' are in, then 1, and 2 when those of the
first jobs after the avalanche are in too. `n_scouts` is how many it begins with; 0 is none, so that it is never
measured, and null is not decided yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..core.states import JOBS, JobState, TaskState
from .tables import INPUT_TYPES, datasets, job_files, jobs, queues, tasks

#: Jobs whose payload has done its work: their figures count though their outputs may still wait to be merged.
DONE = (JobState.FINISHED, JobState.MERGING)
_FRUITLESS = tuple(sorted(JOBS.final - {JobState.FINISHED, JobState.CLOSED}))
#: Nobody tried what no pilot took: such a job is not one of the scouts, as it uses up no attempt of its inputs.
_UNTRIED = JobState.CLOSED
#: Jobs that are looked at for one task at most.
MAX_JOBS = 1000


@dataclass(frozen=True)
class Census:
    """The scouts of a task: how many were made, and how many of them are done, fruitless, and neither.

    Those that were closed, as no pilot took them, are left out.
    """

    made: int
    done: int
    fruitless: int

    @property
    def live(self) -> int:
        return self.made - self.done - self.fruitless


def is_scouting() -> sa.ColumnElement[bool]:
    """The condition that a task waits for figures of its scouts."""
    return sa.and_(tasks.c.n_scouts > 0, tasks.c.optimisation_stage == 0)


def wants_no_more() -> sa.ColumnElement[bool]:
    """The condition that a task scouts and has all its scouts."""
    made, fruitless = _scouts(), _scouts(jobs.c.status.in_(_FRUITLESS))
    enough = sa.or_(made - fruitless >= tasks.c.n_scouts, made >= tasks.c.n_scouts * tasks.c.max_attempt)
    return sa.and_(tasks.c.status == TaskState.SCOUTING, is_scouting(), enough)


def has_all(tx: sa.Connection, jeditaskid: int) -> bool:
    """Whether a task scouts and gets no more jobs before its figures are in."""
    statement = sa.select(tasks.c.jeditaskid).where(tasks.c.jeditaskid == jeditaskid, wants_no_more())
    return tx.execute(statement).first() is not None


def figures_are_due(n_avalanched: int) -> sa.ColumnElement[bool]:
    """The condition that a task has enough jobs to be measured: half of its scouts, or the first after the avalanche.

    Also that its scouts are over, though fewer were done.
    """
    return sa.or_(
        sa.and_(is_scouting(), _half_or_over()),
        sa.and_(
            tasks.c.n_scouts > 0,
            tasks.c.optimisation_stage == 1,
            tasks.c.status == TaskState.RUNNING,
            # Each finished job has finished an input at least; this spares counting the jobs of young tasks.
            _master(datasets.c.n_files_finished >= n_avalanched),
            sa.exists(_avalanched().limit(1).offset(n_avalanched - 1)),
        ),
    )


def evaluation_is_due() -> sa.ColumnElement[bool]:
    """The condition that the scouts of a task are to be evaluated before anything else is asked about it.

    Of tasks that are pending too: what was measured may be what they wait for, as it changes what jobs need.
    """
    held_up = sa.and_(tasks.c.status == TaskState.PENDING, tasks.c.old_status == TaskState.SCOUTING)
    scouts_out = sa.and_(sa.func.coalesce(tasks.c.n_scouts, 0) > 0, tasks.c.optimisation_stage == 0)
    return sa.and_(sa.or_(tasks.c.status == TaskState.SCOUTING, held_up), scouts_out, _half_or_over())


def _half_or_over() -> sa.ColumnElement[bool]:
    """The condition that half of the scouts of a task are done, or all are over."""
    made, done, fruitless = _scouts(), _scouts(jobs.c.status.in_(DONE)), _scouts(jobs.c.status.in_(_FRUITLESS))
    half = done * 2 >= tasks.c.n_scouts
    over = sa.and_(made >= tasks.c.n_scouts * tasks.c.max_attempt, made == done + fruitless)
    return sa.or_(half, over)


def census(tx: sa.Connection, task: sa.Row[Any]) -> Census:
    """The scouts of a task."""
    statement = (
        sa.select(jobs.c.status, sa.func.count())
        .where(jobs.c.jeditaskid == task.jeditaskid, jobs.c.is_scout, jobs.c.serial_nr >= task.first_scout_nr)
        .where(jobs.c.status != _UNTRIED)
        .group_by(jobs.c.status)
    )
    counted = {JobState(status): n for status, n in tx.execute(statement)}
    return Census(
        sum(counted.values()),
        sum(counted.get(state, 0) for state in DONE),
        sum(counted.get(state, 0) for state in _FRUITLESS),
    )


def to_measure(tx: sa.Connection, task: sa.Row[Any], *, n_avalanched: int) -> list[sa.Row[Any]]:
    """The jobs of a task that are to be measured now, with the events and sizes of their files.

    Beside the columns of the job: input_bytes, output_bytes, events_of_inputs (of the main input alone, whose events
    jobs process; a file without events counts as one, manual ch. 15) and the row of its queue under its own names.
    """
    statement = sa.select(jobs).where(jobs.c.jeditaskid == task.jeditaskid, jobs.c.kind == "run")
    if task.optimisation_stage == 0:
        statement = statement.where(
            jobs.c.is_scout, jobs.c.serial_nr >= task.first_scout_nr, jobs.c.status.in_(DONE)
        ).limit(MAX_JOBS)
    else:
        statement = statement.where(jobs.c.is_scout.is_(False), jobs.c.status == JobState.FINISHED).limit(n_avalanched)
    chosen = statement.order_by(jobs.c.ended_at, jobs.c.pandaid).cte("chosen")
    is_input = job_files.c.type.in_(INPUT_TYPES)
    events = sa.case((job_files.c.n_events > 0, job_files.c.n_events), else_=1)
    sizes = sa.func.coalesce(job_files.c.size_bytes, 0)
    is_main = sa.and_(is_input, datasets.c.is_master)
    sums = (
        sa.select(
            job_files.c.pandaid,
            sa.func.sum(sa.case((is_input, sizes), else_=0)).label("input_bytes"),
            sa.func.sum(sa.case((is_input, 0), else_=sizes)).label("output_bytes"),
            sa.func.sum(sa.case((is_main, events), else_=0)).label("events_of_inputs"),
        )
        .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
        .where(job_files.c.pandaid.in_(sa.select(chosen.c.pandaid)))
        .group_by(job_files.c.pandaid)
        .cte("sums")
    )
    complete = (
        sa.select(chosen, sums.c.input_bytes, sums.c.output_bytes, sums.c.events_of_inputs, queues.c.attributes)
        .join(sums, sums.c.pandaid == chosen.c.pandaid)
        .outerjoin(queues, queues.c.queue == chosen.c.queue)
        .order_by(chosen.c.pandaid)
    )
    return list(tx.execute(complete))


def _scouts(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    """How many scouts of a row of `tasks` meet the conditions."""
    mine = (jobs.c.jeditaskid == tasks.c.jeditaskid, jobs.c.is_scout, jobs.c.serial_nr >= tasks.c.first_scout_nr)
    return (
        sa.select(sa.func.count())
        .where(*mine, jobs.c.status != _UNTRIED, *conditions)
        .correlate(tasks)
        .scalar_subquery()
    )


def _avalanched() -> sa.Select[Any]:
    return (
        sa.select(sa.literal(1))
        .where(
            jobs.c.jeditaskid == tasks.c.jeditaskid,
            jobs.c.kind == "run",
            jobs.c.is_scout.is_(False),
            jobs.c.status == JobState.FINISHED,
        )
        .correlate(tasks)
    )


def _master(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(datasets.c.jeditaskid == tasks.c.jeditaskid, datasets.c.is_master, condition)
