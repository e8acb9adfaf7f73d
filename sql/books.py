"""What must hold of the books at any moment, and what must be over when all is at rest: looked for in the rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..core.states import JOBS, TASKS, InputFileState, JobState
from ..core.states.machine import S, StateTable
from .tables import (
    INPUT_TYPES,
    catalogue_files,
    datasets,
    files,
    job_events,
    job_files,
    jobs,
    leases,
    task_events,
    tasks,
)

#: How far the clocks of two of our processes may be apart on one machine.
CLOCK_SECONDS = 0.5


class TaskSeen(NamedTuple):
    """A task, with its inputs as they are counted in the rows."""

    jeditaskid: int
    task_name: str
    status: str
    n_inputs: int
    n_finished: int


def tasks_of(tx: sa.Connection, user_name: str) -> list[TaskSeen]:
    """The tasks of a user, by id."""
    finished = sa.func.sum(sa.case((files.c.status == InputFileState.FINISHED, 1), else_=0))
    statement = (
        sa.select(
            tasks.c.jeditaskid,
            tasks.c.task_name,
            tasks.c.status,
            sa.func.count(files.c.fileid),
            sa.func.coalesce(finished, 0),
        )
        .select_from(tasks)
        .outerjoin(datasets, sa.and_(datasets.c.jeditaskid == tasks.c.jeditaskid, datasets.c.is_master))
        .outerjoin(files, files.c.datasetid == datasets.c.datasetid)
        .where(tasks.c.user_name == user_name)
        .group_by(tasks.c.jeditaskid, tasks.c.task_name, tasks.c.status)
        .order_by(tasks.c.jeditaskid)
    )
    return [TaskSeen(*row) for row in tx.execute(statement)]


def is_unused(tx: sa.Connection) -> bool:
    """Whether nobody has ever submitted a task."""
    return tx.execute(sa.select(tasks.c.jeditaskid).limit(1)).first() is None


def live_jobs(tx: sa.Connection) -> dict[str, int]:
    """How many jobs are not over, by state."""
    live = jobs.c.status.not_in(list(JOBS.final))
    statement = sa.select(jobs.c.status, sa.func.count()).where(live).group_by(jobs.c.status)
    return dict(tx.execute(statement).all())


def job_ends(tx: sa.Connection) -> dict[str, int]:
    """How many jobs ended, by state."""
    over = jobs.c.status.in_(list(JOBS.final))
    statement = sa.select(jobs.c.status, sa.func.count()).where(over).group_by(jobs.c.status)
    return dict(tx.execute(statement).all())


def doubles(tx: sa.Connection) -> dict[str, int]:
    """What may be there once only and is there more often, counted: claims of an attempt, ends of a job, jobs of an
    attempt of an input, files made; nothing of which there is none. Of live jobs only.
    """
    found = {what: _n_repeated(tx, chosen) for what, chosen in _things().items()}
    return {what: n for what, n in found.items() if n}


def illegal_steps(tx: sa.Connection) -> list[str]:
    """Steps in the logs of jobs and tasks that the tables of states do not have."""
    return [*_illegal(tx, JOBS, job_events, "pandaid"), *_illegal(tx, TASKS, task_events, "jeditaskid")]


def _illegal(tx: sa.Connection, table: StateTable[S], log: sa.Table, key: str) -> Iterator[str]:
    old, new, which = log.c.old_status, log.c.new_status, sa.func.min(log.c[key])
    taken = sa.select(old, new, which).where(old.is_not(None), old != new).group_by(old, new)
    for before, after, example in tx.execute(taken):
        if not table.allows(table.states(before), table.states(after)):
            yield f"{table.kind} {example} went from {before} to {after}"


def broken_chains(tx: sa.Connection) -> list[str]:
    """Lines in the logs of jobs that do not begin where the line before them ended, or are of an older attempt."""
    lines = (
        sa.select(
            job_events.c.pandaid,
            job_events.c.old_status,
            job_events.c.attempt_nr,
            _before(job_events.c.new_status).label("state_before"),
            _before(job_events.c.attempt_nr).label("attempt_before"),
        )
    ).subquery()
    wrong = sa.or_(lines.c.old_status != lines.c.state_before, lines.c.attempt_nr < lines.c.attempt_before)
    return [
        f"job {row.pandaid}: after attempt {row.attempt_before} {row.state_before}"
        f" came attempt {row.attempt_nr} from {row.old_status}"
        for row in tx.execute(sa.select(lines).where(wrong).limit(20))
    ]


def unexplained(tx: sa.Connection) -> dict[str, int]:
    """Lines in the logs that do not say who or why, and claims that do not say by which request; none: left out."""
    claimed = sa.and_(job_events.c.new_status == JobState.SENT, job_events.c.request_id.is_(None))
    asked = {
        "steps of jobs without actor or reason": sa.select(sa.func.count())
        .select_from(job_events)
        .where(_is_silent(job_events)),
        "steps of tasks without actor or reason": sa.select(sa.func.count())
        .select_from(task_events)
        .where(_is_silent(task_events)),
        "claims without a request id": sa.select(sa.func.count()).select_from(job_events).where(claimed),
    }
    return {what: n for what, statement in asked.items() if (n := int(tx.scalar(statement) or 0))}


def overdue_leases(tx: sa.Connection, *, before: datetime, begun_before: datetime) -> list[str]:
    """Leases of jobs, tasks and chores that ended before then and that somebody still has.

    Of chores only those whose work was last begun before another moment: until it is due again, nobody looks at them.
    """
    late_jobs = sa.select(jobs.c.pandaid).where(jobs.c.lease_until < before).limit(20)
    late_tasks = (
        sa.select(tasks.c.jeditaskid).where(tasks.c.lease_owner.is_not(None), tasks.c.lease_until < before).limit(20)
    )
    late_names = sa.select(leases.c.name).where(
        leases.c.owner.is_not(None), leases.c.until < before, leases.c.last_run_at < begun_before
    )
    return [
        *(f"job {pandaid}" for pandaid in tx.scalars(late_jobs)),
        *(f"task {jeditaskid}" for jeditaskid in tx.scalars(late_tasks)),
        *(f"lease {name}" for name in tx.scalars(late_names)),
    ]


def early_losses(tx: sa.Connection, *, lease_seconds: float, sent_seconds: float) -> list[str]:
    """Jobs that the watcher took from a pilot sooner after its last sign of life than a lease lasts.

    `sent_seconds` is the lease of a claim of which the pilot has not spoken yet, which counts from the claim.
    """
    lines = sa.select(
        job_events.c.pandaid,
        job_events.c.attempt_nr,
        job_events.c.old_status,
        job_events.c.new_status,
        job_events.c.actor,
        job_events.c.at,
        _before(job_events.c.at).label("at_before"),
    ).subquery()
    lasts = {JobState.SENT: sent_seconds, JobState.STARTING: lease_seconds, JobState.RUNNING: lease_seconds}
    taken = (
        sa.select(lines, jobs.c.heartbeat_at)
        .join(jobs, jobs.c.pandaid == lines.c.pandaid)
        .where(lines.c.actor == "watcher", lines.c.old_status.in_(list(lasts)))
    )
    found = []
    for row in tx.execute(taken):
        is_again = row.new_status == JobState.ACTIVATED  # then the row knows nothing of that pilot any more
        heard_at = row.at_before if is_again else row.heartbeat_at or row.at_before
        quiet_seconds = (row.at - heard_at).total_seconds()
        if quiet_seconds < lasts[row.old_status] - CLOCK_SECONDS:
            told = f"{quiet_seconds:.1f} s after its pilot was heard of"
            found.append(f"job {row.pandaid}, attempt {row.attempt_nr}, was taken back {told}, as {row.old_status}")
    return found


class Made(NamedTuple):
    """A file in the catalogue that a job made, and which attempt was booked for it; `lfn` is the job's input."""

    lfn: str
    url: str
    pandaid: int
    attempt_nr: int


def inputs_and_outputs(tx: sa.Connection, jeditaskid: int) -> Iterator[Made]:
    """Each file made by jobs of a task and in the catalogue, by input."""
    inputs = job_files.alias()
    statement = (
        sa.select(inputs.c.lfn, catalogue_files.c.url, inputs.c.pandaid, jobs.c.attempt_nr)
        .select_from(inputs)
        .join(catalogue_files, catalogue_files.c.pandaid == inputs.c.pandaid)
        .join(jobs, jobs.c.pandaid == inputs.c.pandaid)
        .where(inputs.c.jeditaskid == jeditaskid, inputs.c.type == "input")
        .order_by(inputs.c.lfn)
    )
    yield from (Made(*row) for row in tx.execute(statement))


def _before(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The value in the line before, of the same job."""
    return sa.func.lag(column, type_=column.type).over(partition_by=job_events.c.pandaid, order_by=job_events.c.id)


def _is_silent(log: sa.Table) -> sa.ColumnElement[bool]:
    return sa.or_(log.c.actor == "", log.c.why == "")


def _things() -> dict[str, sa.Select[Any]]:
    """For each kind of thing, what names one; live jobs only."""
    events, of_jobs = job_events.c, job_files.c
    is_input, is_made = of_jobs.type == "input", of_jobs.type.not_in(INPUT_TYPES)
    of_job = job_files.join(jobs, jobs.c.pandaid == of_jobs.pandaid)
    has_fileid = of_jobs.fileid.is_not(None)
    return {
        "claims of an attempt": sa.select(events.pandaid, events.attempt_nr).where(events.new_status == JobState.SENT),
        "ends of a job": sa.select(events.pandaid).where(events.new_status == JobState.FINISHED),
        "jobs of an attempt of an input": sa.select(of_jobs.fileid, jobs.c.attempt_nr)
        .select_from(of_job)
        .where(is_input, has_fileid),
        "times that an input counts": sa.select(of_jobs.fileid).where(
            is_input, has_fileid, of_jobs.status == InputFileState.FINISHED
        ),
        "names of an output": sa.select(of_jobs.lfn).where(is_made),
        "registrations of an output": sa.select(catalogue_files.c.lfn).where(catalogue_files.c.pandaid.is_not(None)),
    }


def _n_repeated(tx: sa.Connection, chosen: sa.Select[Any]) -> int:
    repeated = chosen.group_by(*chosen.selected_columns).having(sa.func.count() > 1).subquery()
    return int(tx.scalar(sa.select(sa.func.count()).select_from(repeated)) or 0)
