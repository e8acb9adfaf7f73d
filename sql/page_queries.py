"""What pages ask beyond the API: a task's jobs summed up, its relatives, users, pilots, and what was decided lately.

None reads more than the rows of its task, or a bounded number of the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import JobState
from .selection import Selection, conditions, newest
from .tables import (
    TASKS_OVER,
    commands,
    datasets,
    decisions,
    job_files,
    leases,
    sites,
    tasks,
    workers,
)
from .tables import jobs as live_jobs
from .views import all_jobs

#: A branch of a family of tasks is followed so far up and down.
GENERATIONS = 6
RELATIVES = 50
#: Other jobs of so many inputs of a job are looked for.
LOOKED_AT_INPUTS = 20


def newest_jobs(tx: sa.Connection, wanted: Selection, *, limit: int) -> list[sa.Row[Any]]:
    """Jobs that fit, the newest first."""
    return newest(tx, all_jobs, "pandaid", wanted, limit=limit)


def jobs_by(tx: sa.Connection, jeditaskid: int, *names: str) -> list[sa.Row[Any]]:
    """How many jobs a task has by columns such as `queue` and `status`: rows with these and `n`."""
    by = [all_jobs.c[name] for name in names]
    counted = sa.select(*by, sa.func.count().label("n")).where(all_jobs.c.jeditaskid == jeditaskid)
    return list(tx.execute(counted.group_by(*by).order_by(*by)))


def last_done(tx: sa.Connection, jeditaskid: int, *, limit: int = 100) -> list[tuple[datetime, int]]:
    """The last jobs of a task that finished: (moment, inputs), of those that process its own inputs."""
    statement = (
        sa.select(all_jobs.c.modified_at, all_jobs.c.n_input_files)
        .where(
            all_jobs.c.jeditaskid == jeditaskid,
            all_jobs.c.status == JobState.FINISHED,
            all_jobs.c.kind == "run",
        )
        .order_by(all_jobs.c.pandaid.desc())
        .limit(limit)
    )
    return [(row.modified_at, row.n_input_files) for row in tx.execute(statement)]


def job_figures(tx: sa.Connection, jeditaskid: int, *, limit: int = 2000) -> list[sa.Row[Any]]:
    """What the newest jobs of a task used that are over."""
    names = "pandaid status started_at ended_at max_rss_kb max_pss_kb cpu_consumption_seconds core_count queue"
    statement = sa.select(*(all_jobs.c[name] for name in names.split())).where(
        all_jobs.c.jeditaskid == jeditaskid,
        all_jobs.c.status.in_([JobState.FINISHED, JobState.FAILED]),
        all_jobs.c.started_at.is_not(None),
    )
    return list(tx.execute(statement.order_by(all_jobs.c.pandaid.desc()).limit(limit)))


def family(tx: sa.Connection, jeditaskid: int) -> list[sa.Row[Any]]:
    """A task with its ancestors, their other descendants not, and its descendants: the first come first."""
    columns = [tasks.c[name] for name in ("jeditaskid", "parent_tid", "task_name", "status")]
    chosen = sa.select(*columns)
    found = {row.jeditaskid: row for row in tx.execute(chosen.where(tasks.c.jeditaskid == jeditaskid))}
    parent = next((row.parent_tid for row in found.values()), None)
    for _ in range(GENERATIONS):
        if parent is None or parent in found:
            break
        for row in tx.execute(chosen.where(tasks.c.jeditaskid == parent)):
            found[row.jeditaskid] = row
            parent = row.parent_tid
    below = [jeditaskid]
    for _ in range(GENERATIONS):
        if not below or len(found) >= RELATIVES:
            break
        rows = tx.execute(chosen.where(tasks.c.parent_tid.in_(below)).order_by(tasks.c.jeditaskid).limit(RELATIVES))
        children = [row for row in rows if row.jeditaskid not in found]
        found.update((row.jeditaskid, row) for row in children)
        below = [row.jeditaskid for row in children]
    return [found[one] for one in sorted(found)]


def attempts_of(tx: sa.Connection, pandaid: int, *, limit: int = 50) -> list[sa.Row[Any]]:
    """All jobs that had an input of a job, itself among them, the oldest first."""
    inputs = tx.execute(
        sa.select(job_files.c.datasetid, job_files.c.fileid)
        .where(job_files.c.pandaid == pandaid, job_files.c.fileid.is_not(None))
        .limit(LOOKED_AT_INPUTS)
    ).all()
    same = {pandaid}
    if inputs:
        among = (
            job_files.c.datasetid.in_({row.datasetid for row in inputs}),
            job_files.c.fileid.in_([row.fileid for row in inputs]),
        )
        same |= set(tx.scalars(sa.select(job_files.c.pandaid).where(*among).distinct().limit(limit)))
    statement = sa.select(all_jobs).where(all_jobs.c.pandaid.in_(sorted(same)))
    return list(tx.execute(statement.order_by(all_jobs.c.pandaid)))


def tasks_by_user(tx: sa.Connection, *, limit: int) -> list[sa.Row[Any]]:
    """Users by their tasks: `user_name`, `n_tasks`, `n_active`, `last_at`, those with the newest change first."""
    going = tasks.c.status.not_in(list(TASKS_OVER))
    last = sa.func.max(tasks.c.modified_at).label("last_at")
    statement = sa.select(
        tasks.c.user_name,
        sa.func.count().label("n_tasks"),
        sa.func.sum(sa.case((going, 1), else_=0)).label("n_active"),
        last,
    )
    return list(tx.execute(statement.group_by(tasks.c.user_name).order_by(last.desc()).limit(limit)))


def list_workers(tx: sa.Connection, *, queues: Sequence[str] | None = None, limit: int) -> list[sa.Row[Any]]:
    """Workers, of all queues or some, those that were last heard of first."""
    statement = sa.select(workers).order_by(workers.c.modified_at.desc()).limit(limit)
    return list(tx.execute(statement if queues is None else statement.where(workers.c.queue.in_(queues))))


def pilots_at_work(tx: sa.Connection, *, queues: Sequence[str] | None = None, limit: int) -> list[sa.Row[Any]]:
    """Live jobs that a pilot has, of all queues or some, the newest first."""
    held = [JobState.SENT, JobState.STARTING, JobState.RUNNING]
    statement = sa.select(live_jobs).where(live_jobs.c.status.in_(held))
    if queues is not None:
        statement = statement.where(live_jobs.c.queue.in_(queues))
    return list(tx.execute(statement.order_by(live_jobs.c.pandaid.desc()).limit(limit)))


def recent_decisions(
    tx: sa.Connection, *, actor: str | None = None, queue: str | None = None, limit: int
) -> list[sa.Row[Any]]:
    """The decisions that were taken last, or taken again."""
    statement = sa.select(decisions).order_by(decisions.c.last_at.desc(), decisions.c.id.desc()).limit(limit)
    if actor is not None:
        statement = statement.where(decisions.c.actor == actor)
    if queue is not None:
        statement = statement.where(decisions.c.queue == queue)
    return list(tx.execute(statement))


def all_leases(tx: sa.Connection, *, limit: int = 1000) -> list[sa.Row[Any]]:
    """Every lease with its holder, by name."""
    return list(tx.execute(sa.select(leases).order_by(leases.c.name).limit(limit)))


def tasks_at_work(tx: sa.Connection, *, now: datetime, limit: int) -> list[sa.Row[Any]]:
    """Tasks that an agent holds now."""
    names = ("jeditaskid", "task_name", "status", "lease_owner", "lease_until")
    statement = sa.select(*(tasks.c[name] for name in names)).where(tasks.c.lease_until > now)
    return list(tx.execute(statement.order_by(tasks.c.jeditaskid).limit(limit)))


def sites_by_name(tx: sa.Connection) -> list[sa.Row[Any]]:
    """All sites."""
    return list(tx.execute(sa.select(sites).order_by(sites.c.site)))


def task_datasets(tx: sa.Connection, name: str, *, limit: int) -> list[sa.Row[Any]]:
    """The uses of a dataset by tasks, newest first, with the tasks' names and states."""
    statement = (
        sa.select(datasets, tasks.c.task_name, tasks.c.status.label("task_status"))
        .join(tasks, tasks.c.jeditaskid == datasets.c.jeditaskid)
        .where(datasets.c.dataset_name == name)
    )
    return list(tx.execute(statement.order_by(datasets.c.datasetid.desc()).limit(limit)))


def commands_of(tx: sa.Connection, jeditaskid: int, *, limit: int = 20) -> list[sa.Row[Any]]:
    """The last commands on a task, newest first."""
    statement = sa.select(commands).where(commands.c.jeditaskid == jeditaskid)
    return list(tx.execute(statement.order_by(commands.c.commandid.desc()).limit(limit)))


def has_task(tx: sa.Connection, jeditaskid: int) -> bool:
    """Whether there is a task of that id."""
    return tx.execute(sa.select(tasks.c.jeditaskid).where(tasks.c.jeditaskid == jeditaskid)).first() is not None


def has_job(tx: sa.Connection, pandaid: int) -> bool:
    """Whether there is a job of that id."""
    return tx.execute(sa.select(all_jobs.c.pandaid).where(all_jobs.c.pandaid == pandaid)).first() is not None


def users_like(tx: sa.Connection, pattern: str, *, limit: int) -> list[str]:
    """Users with tasks whose names fit a pattern with `*`."""
    chosen = sa.select(tasks.c.user_name).where(*conditions(tasks, "jeditaskid", Selection({"user_name": [pattern]})))
    return list(tx.scalars(chosen.distinct().order_by(tasks.c.user_name).limit(limit)))
