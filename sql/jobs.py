"""Jobs: the one way to move them, to claim them and to keep their leases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.dml import ReturningUpdate

from ..core.errors import IllegalTransition, NotFound, Stale
from ..core.states import JOBS, LEASED, JobState
from . import bulk
from .engine import skip_locked, spelled_out
from .job_reports import store_report
from .ready import Ready
from .tables import job_events, job_reports, jobs

#: How many ids one statement names: SQLite and PostgreSQL take some 32 000 variables.
BATCH = 5000


class JobRef(NamedTuple):
    """What its holder believes a job to be: the fence of every write."""

    pandaid: int
    attempt_nr: int
    status: JobState


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
    values: dict[str, Any] = {}
    for status in {job.status for job in held}:
        values = values_of_step(status, to, now, also)
    if new_attempt:
        values["attempt_nr"] = jobs.c.attempt_nr + 1
    move = _move_all if tx.dialect.name == "postgresql" else _move_each
    line = line_of_step(to, actor, why, now, request_id)
    return [JobRef(*key, to) for some in batches(held) for key in move(tx, some, values, line)]


def _move_each(
    tx: sa.Connection, held: Sequence[JobRef], values: Mapping[str, Any], line: Mapping[str, Any]
) -> list[tuple[int, int]]:
    still = sa.tuple_(*(jobs.c[name] for name in JobRef._fields)).in_(held)
    statement = sa.update(jobs).where(still).values(values).returning(*_KEY).prefix_with("/* jobs.move */")
    moved: Sequence[Any] = tx.execute(statement).all()
    before = {job.pandaid: job.status for job in held}
    lines = [{**line, **of_job(pandaid, attempt_nr, before[pandaid])} for pandaid, attempt_nr in moved]
    bulk.insert(tx, job_events, lines)
    return [(pandaid, attempt_nr) for pandaid, attempt_nr in moved]


def _move_all(
    tx: sa.Connection, held: Sequence[JobRef], values: Mapping[str, Any], line: Mapping[str, Any]
) -> list[tuple[int, int]]:
    """The steps and their lines in the log, in one statement of PostgreSQL."""
    rows = bulk.given([jobs.c[name] for name in JobRef._fields])
    changed = sa.update(jobs).where(*(jobs.c[name] == rows.c[name] for name in JobRef._fields)).values(values)
    moved = changed.returning(*_KEY, rows.c.status.label("old_status")).prefix_with("/* jobs.move */").cte("moved")
    common = {name: sa.literal(value, job_events.c[name].type) for name, value in line.items()}
    logged = {**common, **of_job(moved.c.pandaid, moved.c.attempt_nr, moved.c.old_status)}
    log = sa.insert(job_events).from_select(list(logged), sa.select(*logged.values())).cte("logged")
    given = [{"pandaid": job.pandaid, "attempt_nr": job.attempt_nr, "status": str(job.status)} for job in held]
    found = tx.execute(sa.select(moved.c.pandaid, moved.c.attempt_nr).add_cte(log), bulk.as_lists(given))
    return [(pandaid, attempt_nr) for pandaid, attempt_nr in found.all()]


_KEY = (jobs.c.pandaid, jobs.c.attempt_nr)


def move_job(
    tx: sa.Connection,
    held: JobRef,
    to: JobState,
    *,
    actor: str,
    why: str,
    now: datetime,
    request_id: str | None = None,
    new_attempt: bool = False,
    report: Mapping[str, Any] | None = None,
    **also: Any,
) -> JobRef:
    """`move_jobs` for one job; raises `Stale` when somebody else moved it first.

    `report` sets columns of the job's row of reports. On PostgreSQL all of it is one statement.
    """
    report = report or {}
    values = values_of_step(held.status, to, now, also)
    line = {**line_of_step(to, actor, why, now, request_id), **of_job(held.pandaid, held.attempt_nr, held.status)}
    given = {
        **{f"the_{name}": value for name, value in values.items()},
        **{f"of_{name}": value for name, value in line.items()},
    }
    if tx.dialect.name == "postgresql":
        told = {f"told_{name}": value for name, value in report.items()}
        statement = _step_and_log(frozenset(values), new_attempt, frozenset(report))
        row = statement.first(tx, {**given, **told})
        attempt_nr = row.attempt_nr if row else None
    else:
        row = _step_alone(frozenset(values), new_attempt).first(tx, given)
        attempt_nr = row.attempt_nr if row else None
        if attempt_nr is not None:
            tx.execute(sa.insert(job_events), {**line, "attempt_nr": attempt_nr})
            store_report(tx, held.pandaid, report)
    if attempt_nr is None:
        raise Stale(f"job {held.pandaid} is no longer attempt {held.attempt_nr} in state {held.status}")
    return JobRef(held.pandaid, int(attempt_nr), to)


def values_of_step(held: JobState, to: JobState, now: datetime, also: Mapping[str, Any]) -> dict[str, Any]:
    """What a step sets. Raises `IllegalTransition`."""
    if not JOBS.allows(held, to):
        raise IllegalTransition(f"jobs may not go from {held} to {to}")
    values: dict[str, Any] = {"status": to, "modified_at": now, "state_changed_at": now, **also}
    if to not in LEASED:
        values["lease_until"] = None
    return values


@lru_cache
def _step(names: frozenset[str], new_attempt: bool) -> ReturningUpdate[Any]:
    """The step of one job that sets these columns: put together once, for most reports are a step."""
    fence = (jobs.c[name] == sa.bindparam(f"of_{named}") for name, named in _FENCE.items())
    values: dict[str, Any] = {name: sa.bindparam(f"the_{name}") for name in sorted(names)}
    if new_attempt:
        values["attempt_nr"] = jobs.c.attempt_nr + 1
    return sa.update(jobs).where(*fence).values(values).returning(jobs.c.attempt_nr).prefix_with("/* jobs.move */")


@lru_cache
def _step_alone(names: frozenset[str], new_attempt: bool) -> Ready:
    return Ready(_step(names, new_attempt))


_FENCE = {"pandaid": "pandaid", "attempt_nr": "attempt_nr", "status": "old_status"}


@lru_cache
def _step_and_log(names: frozenset[str], new_attempt: bool, told: frozenset[str]) -> Ready:
    moved = _step(names, new_attempt).cte("moved")
    columns = [column for column in job_events.c if column.name in _LINE]
    values = [
        moved.c.attempt_nr if column.name == "attempt_nr" else sa.bindparam(f"of_{column.name}", type_=column.type)
        for column in columns
    ]
    logged = sa.insert(job_events).from_select(columns, sa.select(*values).select_from(moved)).cte("logged")
    statement = sa.select(moved.c.attempt_nr).add_cte(logged)
    if not told:
        return Ready(statement)
    reported = [job_reports.c[name] for name in ("pandaid", *sorted(told))]
    given = [sa.bindparam("of_pandaid", type_=job_reports.c.pandaid.type)]
    given += [sa.bindparam(f"told_{column.name}", type_=column.type) for column in reported[1:]]
    entered = postgresql.insert(job_reports).from_select(reported, sa.select(*given).select_from(moved))
    return Ready(statement.add_cte(bulk.or_set(entered, "pandaid", told).cte("reported")))


_LINE = ("pandaid", "attempt_nr", "old_status", "new_status", "actor", "why", "request_id", "at")


def line_of_step(to: JobState, actor: str, why: str, now: datetime, request_id: str | None) -> dict[str, Any]:
    """What the lines of jobs that take the same step have in common; `of_job` is the rest."""
    return {"new_status": to, "actor": actor[:128], "why": why[:1024], "request_id": request_id, "at": now}


def of_job(pandaid: Any, attempt_nr: Any, old_status: Any) -> dict[str, Any]:
    return {"pandaid": pandaid, "attempt_nr": attempt_nr, "old_status": old_status}


def log_created(tx: sa.Connection, created: Sequence[JobRef], *, actor: str, why: str, now: datetime) -> None:
    """Enter the first line of each job's log."""
    bulk.insert(
        tx,
        job_events,
        [
            {**line_of_step(job.status, actor, why, now, None), **of_job(job.pandaid, job.attempt_nr, None)}
            for job in created
        ],
    )


def renew(tx: sa.Connection, held: JobRef, *, lease_until: datetime, now: datetime, **also: Any) -> bool:
    """Renew a lease and keep the figures of a heartbeat; False when the job is no longer its holder's."""
    values = {"lease_until": lease_until, "heartbeat_at": now, "modified_at": now, **also}
    given = {f"the_{name}": value for name, value in values.items()}
    fence = {"of_pandaid": held.pandaid, "of_attempt_nr": held.attempt_nr, "of_status": held.status}
    return _renewal(frozenset(values)).first(tx, {**given, **fence}) is not None


@lru_cache
def _renewal(columns: frozenset[str]) -> Ready:
    """The renewal that sets these columns: put together once, for heartbeats are the commonest request."""
    return Ready(
        sa.update(jobs)
        .where(*(jobs.c[name] == sa.bindparam(f"of_{name}") for name in ("pandaid", "attempt_nr", "status")))
        .values({name: sa.bindparam(f"the_{name}") for name in sorted(columns)})
        .returning(jobs.c.pandaid)
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
    return [ref(row) for row in tx.execute(skip_locked(statement) if lock else statement).all()]


def rows_of(tx: sa.Connection, held: Sequence[JobRef], columns: Iterable[sa.Column[Any]] = jobs.c) -> list[sa.Row[Any]]:
    """The rows of jobs, by id: all columns, or those that are named."""
    statement = sa.select(*columns).order_by(jobs.c.pandaid)
    rows: list[sa.Row[Any]] = []
    for some in batches([job.pandaid for job in held]):
        rows += tx.execute(statement.where(bulk.among(tx, jobs.c.pandaid, some))).all()
    return rows


def times_sent(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, int]:
    """How often pilots have taken each of some jobs, by their logs: {pandaid: n}."""
    found: dict[int, int] = {}
    for some in batches(pandaids):
        statement = sa.select(job_events.c.pandaid, sa.func.count()).where(
            bulk.among(tx, job_events.c.pandaid, some), job_events.c.new_status == JobState.SENT
        )
        found.update((pandaid, n) for pandaid, n in tx.execute(statement.group_by(job_events.c.pandaid)))
    return found


def newest(tx: sa.Connection, *conditions: sa.ColumnElement[bool], n: int) -> int | None:
    """The id from which on `n` jobs meet the conditions, or all if they are fewer; None if there are none."""
    statement = sa.select(jobs.c.pandaid).where(*conditions).order_by(jobs.c.pandaid.desc()).limit(n)
    first = tx.scalar(sa.select(sa.func.min(statement.subquery().c.pandaid)))
    return None if first is None else int(first)


def tasks_of(tx: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int) -> list[int]:
    """The tasks of the jobs that meet the conditions, those with most of them first."""
    statement = sa.select(jobs.c.jeditaskid).where(*conditions).group_by(jobs.c.jeditaskid)
    return list(tx.scalars(statement.order_by(sa.func.count().desc(), jobs.c.jeditaskid).limit(limit)))


def is_in(*statuses: JobState) -> sa.ColumnElement[bool]:
    """The condition that a job is in one of these states, for which there may be an index."""
    return spelled_out(jobs.c.status, statuses)


def overdue(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions that a job's lease has run out."""
    return is_in(*LEASED), jobs.c.lease_until < now


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
            .where(bulk.among(tx, jobs.c.pandaid, some), jobs.c.status.in_(LEASED))
            .values(command_to_pilot=command, modified_at=now)
        )
        told += tx.execute(statement).rowcount
    return told


def replace_order(tx: sa.Connection, pandaids: Sequence[int], before: Sequence[str | None], order: str) -> int:
    """Give an order to the pilots that hold jobs, in place of one of those of before; returns to how many."""
    stands = sa.func.coalesce(jobs.c.command_to_pilot, "").in_([word or "" for word in before])
    statement = sa.update(jobs).where(bulk.among(tx, jobs.c.pandaid, pandaids), jobs.c.status.in_(LEASED), stands)
    return tx.execute(statement.values(command_to_pilot=order)).rowcount


def open_jobs(tx: sa.Connection, jeditaskid: int) -> int:
    """How many jobs of a task are not over."""
    statement = sa.select(sa.func.count()).where(
        jobs.c.jeditaskid == jeditaskid, jobs.c.status.not_in(list(JOBS.final))
    )
    return int(tx.execute(statement).scalar_one())
