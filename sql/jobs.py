"""Jobs: the one way to move them, to claim them and to keep their leases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from ..core.errors import IllegalTransition, NotFound, Stale
from ..core.states import JOBS, LEASED, JobState
from . import bulk
from .engine import skip_locked
from .tables import job_events, jobs

#: How many ids one statement names: SQLite and PostgreSQL take some 32 000 variables.
BATCH = 5000


@dataclass(frozen=True)
class JobRef:
    """What its holder believes a job to be: the fence of every write."""

    pandaid: int
    attempt_nr: int
    status: JobState


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a pilot asks for. A limit of 0 means that the pilot set none."""

    queue: str
    labels: tuple[str, ...] = ()  # production source labels; empty: any
    memory_mb: int = 0
    disk_mb: int = 0
    remaining_seconds: int = 0
    resource_type: str | None = None
    working_group: str | None = None
    limit: int = 1
    shares: tuple[str, ...] = ()  # global shares, the one whose turn it is first; jobs of others come after them
    key: str | None = None
    pilot_id: str | None = None
    node: str | None = None
    scheduler_id: str | None = None
    worker_id: str | None = None


def batches(items: Sequence[Any], size: int = BATCH) -> Iterable[Sequence[Any]]:
    """`items` in slices that fit one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def move_jobs(
    tx: sa.Connection,
    held: Sequence[JobRef],
    to: JobState,
    *,
    actor: str,
    why: str,
    now: datetime,
    request_id: str | None = None,
    new_attempt: bool = False,
    **also: Any,
) -> list[JobRef]:
    """Take one step of the state machine for each job that still is what its holder believes, and log each step.

    Returns the jobs that moved; those that somebody else moved first are left alone. `new_attempt` raises the attempt
    number, so that the former holder can write no more. `also` sets further columns. Raises `IllegalTransition`.
    """
    for status in {job.status for job in held}:
        if not JOBS.allows(status, to):
            raise IllegalTransition(f"jobs may not go from {status} to {to}")
    values: dict[str, Any] = {"status": to, "modified_at": now, "state_changed_at": now, **also}
    if to not in LEASED:
        values["lease_until"] = None
    if new_attempt:
        values["attempt_nr"] = jobs.c.attempt_nr + 1
    moved: list[JobRef] = []
    lines: list[dict[str, Any]] = []
    for some in batches(held):
        keys = [(job.pandaid, job.attempt_nr, str(job.status)) for job in some]
        statement = (
            sa.update(jobs)
            .where(sa.tuple_(jobs.c.pandaid, jobs.c.attempt_nr, jobs.c.status).in_(keys))
            .values(values)
            .returning(jobs.c.pandaid, jobs.c.attempt_nr)
            .prefix_with("/* jobs.move */")
        )
        before = {job.pandaid: job for job in some}
        for pandaid, attempt_nr in tx.execute(statement):
            moved.append(JobRef(pandaid, attempt_nr, to))
            lines.append(_line(pandaid, attempt_nr, before[pandaid].status, to, actor, why, now, request_id))
    bulk.insert(tx, job_events, lines)
    return moved


def move_job(tx: sa.Connection, held: JobRef, to: JobState, **how: Any) -> JobRef:
    """`move_jobs` for one job; raises `Stale` when somebody else moved it first."""
    moved = move_jobs(tx, [held], to, **how)
    if not moved:
        raise Stale(f"job {held.pandaid} is no longer attempt {held.attempt_nr} in state {held.status}")
    return moved[0]


def _line(
    pandaid: int,
    attempt_nr: int,
    old: JobState | None,
    new: JobState,
    actor: str,
    why: str,
    now: datetime,
    request_id: str | None,
) -> dict[str, Any]:
    return {
        "pandaid": pandaid,
        "attempt_nr": attempt_nr,
        "old_status": old,
        "new_status": new,
        "actor": actor[:128],
        "why": why[:1024],
        "request_id": request_id,
        "at": now,
    }


def log_created(tx: sa.Connection, created: Sequence[JobRef], *, actor: str, why: str, now: datetime) -> None:
    """Enter the first line of each job's log."""
    bulk.insert(
        tx,
        job_events,
        [_line(job.pandaid, job.attempt_nr, None, job.status, actor, why, now, None) for job in created],
    )


def claim(
    tx: sa.Connection, wanted: Claim, *, lease_until: datetime, now: datetime, request_id: str | None = None
) -> list[sa.Row[Any]]:
    """Give the best activated jobs of a queue to a pilot, in one statement, and return their rows.

    The best is that of the first share that has one, and in a share that of the highest priority (manual ch. 14.4).
    Jobs that others claim are passed over.
    """
    given = {
        "the_limit": wanted.limit,
        "the_lease": lease_until,
        "the_moment": now,
        **{f"the_{name}": getattr(wanted, name) for name in ("key", "pilot_id", "node", "scheduler_id", "worker_id")},
        **limits_of(wanted),
        **{f"the_share_{turn}": share for turn, share in enumerate(wanted.shares)},
    }
    rows = tx.execute(_claim_statement(frozenset(limits_set(wanted)), len(wanted.shares)), given).all()
    taken = sorted(rows, key=lambda job: (-job.current_priority, job.pandaid))
    if taken:
        tx.execute(
            sa.insert(job_events),
            [
                _line(
                    job.pandaid,
                    job.attempt_nr,
                    JobState.ACTIVATED,
                    JobState.SENT,
                    wanted.pilot_id or "pilot",
                    f"claimed on {wanted.node or 'an unnamed node'}",
                    now,
                    request_id,
                )
                for job in taken
            ],
        )
    return taken


#: What a pilot may limit its request by, and the condition that a job then has to meet.
LIMITS: dict[str, sa.ColumnElement[bool]] = {
    "labels": jobs.c.prod_source_label.in_(sa.bindparam("the_labels", expanding=True)),
    "memory_mb": jobs.c.min_ram_count_mb <= sa.bindparam("the_memory_mb"),
    "disk_mb": jobs.c.max_disk_count_mb <= sa.bindparam("the_disk_mb"),
    "remaining_seconds": jobs.c.max_walltime_seconds <= sa.bindparam("the_remaining_seconds"),
    "resource_type": jobs.c.resource_type == sa.bindparam("the_resource_type"),
    "working_group": jobs.c.working_group == sa.bindparam("the_working_group"),
}


def limits_set(wanted: Claim) -> list[str]:
    """The limits that a pilot has set, in the order of `LIMITS`."""
    return [name for name in LIMITS if getattr(wanted, name)]


def limits_of(wanted: Claim) -> dict[str, Any]:
    """The parameters of the conditions that a claim makes: its queue, and the limits that are set."""
    values = {name: getattr(wanted, name) for name in limits_set(wanted)}
    named = {f"the_{name}": list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"the_queue": wanted.queue, **named}


@lru_cache
def _claim_statement(limits: frozenset[str], n_shares: int) -> ReturningUpdate[Any]:
    """The claim with these limits and so many shares in order: put together once, for that costs more than to run it.

    A CTE, because PostgreSQL may run a bare LIMIT sub-query more than once.
    """
    suitable = [
        jobs.c.status == JobState.ACTIVATED,
        jobs.c.queue == sa.bindparam("the_queue"),
        *(condition for name, condition in LIMITS.items() if name in limits),
    ]
    best = _best(suitable, n_shares).cte("best")
    moments = ("heartbeat_at", "modified_at", "state_changed_at")
    names = {"claim_key": "key", **{name: name for name in ("pilot_id", "node", "scheduler_id", "worker_id")}}
    return (
        sa.update(jobs)
        .where(jobs.c.pandaid.in_(sa.select(best.c.pandaid)))
        .values(
            status=JobState.SENT,
            lease_until=sa.bindparam("the_lease"),
            **{column: sa.bindparam("the_moment") for column in moments},
            **{column: sa.bindparam(f"the_{name}") for column, name in names.items()},
        )
        .returning(*jobs.c)
        .prefix_with("/* jobs.claim */")
    )


def _best(suitable: Sequence[sa.ColumnElement[bool]], n_shares: int) -> sa.Select[Any]:
    """The ids of the best suitable jobs: a branch for each share in turn, and one for all others.

    Databases walk the branches of a UNION ALL one after the other until the limit is reached, so that a claim costs one
    look into the index for each share that has nothing at the queue, and locks no job that it does not take.
    """
    shares: list[sa.ColumnElement[str]] = [
        sa.bindparam(f"the_share_{turn}", type_=sa.String) for turn in range(n_shares)
    ]
    if not shares:
        return _branch(suitable)
    first = [_branch([*suitable, jobs.c.gshare == share]).subquery() for share in shares]
    rest = _branch([*suitable, jobs.c.gshare.not_in(shares)]).subquery()
    together = sa.union_all(*(sa.select(branch.c.pandaid) for branch in [*first, rest])).subquery("in_turn")
    return sa.select(together.c.pandaid).limit(sa.bindparam("the_limit", type_=sa.Integer))


def _branch(suitable: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    return skip_locked(
        sa.select(jobs.c.pandaid)
        .where(*suitable)
        .order_by(jobs.c.current_priority.desc(), jobs.c.pandaid)
        .limit(sa.bindparam("the_limit", type_=sa.Integer))
    )


def claimed_before(tx: sa.Connection, queue: str, key: str) -> list[sa.Row[Any]]:
    """The jobs that the request named `key` has taken already, and of which the pilot has not yet spoken."""
    statement = sa.select(jobs).where(jobs.c.status == JobState.SENT, jobs.c.queue == queue, jobs.c.claim_key == key)
    return list(tx.execute(statement.order_by(jobs.c.pandaid)))


def renew(tx: sa.Connection, held: JobRef, *, lease_until: datetime, now: datetime, **also: Any) -> bool:
    """Renew a lease and keep the figures of a heartbeat; False when the job is no longer its holder's."""
    values = {"lease_until": lease_until, "heartbeat_at": now, "modified_at": now, **also}
    given = {f"the_{name}": value for name, value in values.items()}
    fence = {"of_pandaid": held.pandaid, "of_attempt_nr": held.attempt_nr, "of_status": held.status}
    return tx.execute(_renewal(frozenset(values)), {**given, **fence}).rowcount == 1


@lru_cache
def _renewal(columns: frozenset[str]) -> sa.Update:
    """The renewal that sets these columns: put together once, for heartbeats are the commonest request."""
    return (
        sa.update(jobs)
        .where(*(jobs.c[name] == sa.bindparam(f"of_{name}") for name in ("pandaid", "attempt_nr", "status")))
        .values({name: sa.bindparam(f"the_{name}") for name in sorted(columns)})
        .prefix_with("/* jobs.renew */")
    )


def note(tx: sa.Connection, held: JobRef, *, now: datetime, **columns: Any) -> bool:
    """Set columns of a job other than its state; False when it is no longer what its holder believes."""
    statement = sa.update(jobs).where(
        jobs.c.pandaid == held.pandaid, jobs.c.attempt_nr == held.attempt_nr, jobs.c.status == held.status
    )
    return tx.execute(statement.values(modified_at=now, **columns)).rowcount == 1


def get_job(tx: sa.Connection, pandaid: int, *, lock: bool = False) -> sa.Row[Any]:
    """The row of one live job, locked for this transaction if asked; raises `NotFound`."""
    statement = sa.select(jobs).where(jobs.c.pandaid == pandaid)
    row = tx.execute(statement.with_for_update() if lock else statement).first()
    if row is None:
        raise NotFound(f"there is no job {pandaid}", hint="an old job may be in the archive: bamboo job show")
    return row


def ref(row: sa.Row[Any]) -> JobRef:
    """The reference to a job of which a row was read."""
    return JobRef(row.pandaid, row.attempt_nr, JobState(row.status))


def refs(
    tx: sa.Connection,
    *conditions: sa.ColumnElement[bool],
    limit: int | None = None,
    after: int = 0,
    lock: bool = False,
) -> list[JobRef]:
    """References to the jobs that meet the conditions, by id; with `lock`, those that nobody else holds, held."""
    statement = (
        sa.select(jobs.c.pandaid, jobs.c.attempt_nr, jobs.c.status)
        .where(jobs.c.pandaid > after, *conditions)
        .order_by(jobs.c.pandaid)
        .limit(limit)
    )
    return [ref(row) for row in tx.execute(skip_locked(statement) if lock else statement)]


def rows_of(tx: sa.Connection, held: Sequence[JobRef]) -> list[sa.Row[Any]]:
    """The rows of jobs, by id."""
    rows: list[sa.Row[Any]] = []
    for some in batches([job.pandaid for job in held]):
        rows += tx.execute(sa.select(jobs).where(jobs.c.pandaid.in_(some)).order_by(jobs.c.pandaid))
    return rows


def overdue(tx: sa.Connection, *, now: datetime, limit: int) -> list[JobRef]:
    """Jobs whose lease has run out, held for this transaction."""
    return refs(tx, jobs.c.status.in_(LEASED), jobs.c.lease_until < now, limit=limit, lock=True)


def stuck(
    tx: sa.Connection, status: JobState, *, before: datetime, limit: int, queues_excepted: Sequence[str] = ()
) -> list[JobRef]:
    """Jobs that have been in a state since before a moment, held for this transaction."""
    conditions = [jobs.c.status == status, jobs.c.state_changed_at < before]
    if queues_excepted:
        conditions.append(jobs.c.queue.not_in(queues_excepted))
    return refs(tx, *conditions, limit=limit, lock=True)


def of_task(
    tx: sa.Connection, jeditaskid: int, statuses: Iterable[JobState], *, limit: int, after: int = 0
) -> list[JobRef]:
    """Jobs of a task in the given states, held for this transaction."""
    return refs(
        tx, jobs.c.jeditaskid == jeditaskid, jobs.c.status.in_(list(statuses)), limit=limit, after=after, lock=True
    )


def order(tx: sa.Connection, held: Sequence[JobRef], command: str, *, now: datetime) -> int:
    """Leave a command, such as `tobekilled`, for the pilots that hold these jobs; returns to how many."""
    told = 0
    for some in batches([job.pandaid for job in held]):
        statement = (
            sa.update(jobs)
            .where(jobs.c.pandaid.in_(some), jobs.c.status.in_(LEASED))
            .values(command_to_pilot=command, modified_at=now)
        )
        told += tx.execute(statement).rowcount
    return told


def open_jobs(tx: sa.Connection, jeditaskid: int) -> int:
    """How many jobs of a task are not over."""
    statement = sa.select(sa.func.count()).where(
        jobs.c.jeditaskid == jeditaskid, jobs.c.status.not_in(list(JOBS.final))
    )
    return int(tx.execute(statement).scalar_one())
