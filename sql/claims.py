"""Claims: pilots take the best jobs of a queue, each job one pilot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from ..core.states import JobState
from .engine import skip_locked
from .jobs import is_in
from .ready import Ready, ReadyAmong
from .tables import datasets, job_events, job_files, job_params, jobs, tasks
from .types import UtcDateTime

#: What a pilot has to know of its job, beside its files, and what the server keeps count of.
_NAMES = (
    "pandaid jeditaskid serial_nr attempt_nr status prod_source_label processing_type user_name working_group vo "
    "transformation container_name is_event_service uses_secrets resource_type gshare core_count min_ram_count_mb "
    "max_disk_count_mb max_walltime_seconds current_priority"
)
_COLUMNS = [jobs.c[name] for name in _NAMES.split()]


def _handed_out(of: sa.FromClause) -> sa.Select[Any]:
    """Jobs with all that a pilot has to know of them but their files, of a table with their columns."""
    columns = [of.c[name] for name in _NAMES.split()]
    return (
        sa.select(*columns, job_params.c.job_parameters, tasks.c.split_rule)
        .select_from(of)
        .outerjoin(job_params, job_params.c.pandaid == of.c.pandaid)
        .join(tasks, tasks.c.jeditaskid == of.c.jeditaskid)
    )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a pilot asks for. A limit of 0 means that the pilot set none."""

    queue: str
    labels: tuple[str, ...] = ()  # one or two production source labels; empty: any
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


def claim(
    tx: sa.Connection, wanted: Claim, *, lease_until: datetime, now: datetime, request_id: str | None = None
) -> list[Any]:
    """Give the best activated jobs of a queue to a pilot, and return what it has to know of them, the best first.

    The best is that of the first share that has one, and in a share that of the highest priority (manual ch. 14.4).
    Jobs that others claim are passed over. On PostgreSQL the claim and its lines in the jobs' logs are one statement.
    """
    given = {
        "the_limit": wanted.limit,
        "the_lease": lease_until,
        "the_moment": now,
        "the_actor": (wanted.pilot_id or "pilot")[:128],
        "the_why": f"claimed on {wanted.node or 'an unnamed node'}"[:1024],
        "the_request": request_id,
        **{f"the_{name}": getattr(wanted, name) for name in ("key", "pilot_id", "node", "scheduler_id", "worker_id")},
        **limits_of(wanted),
        **{f"the_share_{turn}": share for turn, share in enumerate(wanted.shares)},
    }
    limits = frozenset(limits_set(wanted))
    rows = _claim(tx, limits, 1, True, given) if len(wanted.shares) > 1 else []
    if len(rows) < wanted.limit:
        rest = {**given, "the_limit": wanted.limit - len(rows)}
        rows = [*rows, *_claim(tx, limits, len(wanted.shares), False, rest)]
    return sorted(rows, key=lambda job: (-job.current_priority, job.pandaid))


def _claim(
    tx: sa.Connection, limits: frozenset[str], n_shares: int, alone: bool, given: Mapping[str, Any]
) -> list[Any]:
    """One claim, of the first `n_shares`; of all other jobs too unless these shares shall be `alone`.

    The first share alone nearly always has a job, and its statement is a third as long: the whole one is for the rest.
    """
    if tx.dialect.name == "postgresql":
        return _claim_and_log(limits, n_shares, alone).all(tx, given)
    taken = _claim_alone(limits, n_shares, alone).all(tx, given)
    if not taken:
        return []
    moment = {name: given[name] for name in ("the_moment", "the_actor", "the_why", "the_request")}
    tx.execute(_LOG, [{"of_pandaid": job.pandaid, "of_attempt_nr": job.attempt_nr, **moment} for job in taken])
    return list(_TAKEN.all(tx, [job.pandaid for job in taken]))


_TAKEN = ReadyAmong(_handed_out(jobs), jobs.c.pandaid)

#: What a pilot may limit its request by, and the condition that a job then has to meet.
LIMITS: dict[str, sa.ColumnElement[bool]] = {
    "labels": jobs.c.prod_source_label.in_([sa.bindparam("the_label"), sa.bindparam("the_other_label")]),
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
    named = {f"the_{name}": getattr(wanted, name) for name in limits_set(wanted) if name != "labels"}
    if wanted.labels:
        named |= {"the_label": wanted.labels[0], "the_other_label": wanted.labels[-1]}
    return {"the_queue": wanted.queue, **named}


#: In words, and not as a parameter: a plan for any state could not use the index of the activated jobs, and PostgreSQL
#: would make a new one for each claim.
_ACTIVATED = sa.literal_column(f"'{JobState.ACTIVATED}'", sa.String)


@lru_cache
def _claim_statement(limits: frozenset[str], n_shares: int, alone: bool) -> ReturningUpdate[Any]:
    """The claim with these limits and so many shares in order: put together once, for that costs more than to run it.

    A CTE, because PostgreSQL may run a bare LIMIT sub-query more than once.
    """
    suitable = [
        jobs.c.status == _ACTIVATED,
        jobs.c.queue == sa.bindparam("the_queue"),
        *(condition for name, condition in LIMITS.items() if name in limits),
    ]
    best = _best(suitable, n_shares, alone).cte("best")
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
        .returning(*_COLUMNS)
        .prefix_with("/* jobs.claim */")
    )


@lru_cache
def _claim_alone(limits: frozenset[str], n_shares: int, alone: bool) -> Ready:
    return Ready(_claim_statement(limits, n_shares, alone))


@lru_cache
def _claim_and_log(limits: frozenset[str], n_shares: int, alone: bool) -> Ready:
    taken = _claim_statement(limits, n_shares, alone).cte("taken")
    lines = sa.select(*_line(taken.c.pandaid, taken.c.attempt_nr).values())
    logged = sa.insert(job_events).from_select(list(_line(None, None)), lines).cte("logged")
    return Ready(_handed_out(taken).add_cte(logged))


def _line(pandaid: Any, attempt_nr: Any) -> dict[str, Any]:
    """The line that a claim leaves in the log of a job."""
    return {
        "pandaid": pandaid,
        "attempt_nr": attempt_nr,
        "old_status": sa.literal(JobState.ACTIVATED, sa.String),
        "new_status": sa.literal(JobState.SENT, sa.String),
        "actor": sa.bindparam("the_actor", type_=sa.String),
        "why": sa.bindparam("the_why", type_=sa.String),
        "request_id": sa.bindparam("the_request", type_=sa.String),
        "at": sa.bindparam("the_moment", type_=UtcDateTime),
    }


_LOG = sa.insert(job_events).values(_line(sa.bindparam("of_pandaid"), sa.bindparam("of_attempt_nr")))


def _best(suitable: Sequence[sa.ColumnElement[bool]], n_shares: int, alone: bool) -> sa.Select[Any]:
    """The ids of the best suitable jobs: a branch for each share in turn, and one for all others unless `alone`.

    Databases walk the branches of a UNION ALL one after the other until the limit is reached, so that a claim costs one
    look into the index for each share that has nothing at the queue, and locks no job that it does not take.
    """
    shares: list[sa.ColumnElement[str]] = [
        sa.bindparam(f"the_share_{turn}", type_=sa.String) for turn in range(n_shares)
    ]
    if not shares:
        return _branch(suitable)
    if alone and n_shares == 1:
        return _branch([*suitable, jobs.c.gshare == shares[0]])
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
    statement = _handed_out(jobs).where(is_in(JobState.SENT), jobs.c.queue == queue, jobs.c.claim_key == key)
    return list(tx.execute(statement.order_by(jobs.c.pandaid)))


def files_to_move(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, list[Any]]:
    """What pilots must know of the files of their jobs: {pandaid: rows}."""
    found: dict[int, list[Any]] = {pandaid: [] for pandaid in pandaids}
    for row in _FILES.all(tx, pandaids):
        found[row.pandaid].append(row)
    return found


_FILE_NAMES = "pandaid lfn type guid size_bytes checksum scope storage url may_be_missing"
_FILES = ReadyAmong(
    sa.select(*(job_files.c[name] for name in _FILE_NAMES.split()), datasets.c.dataset_name)
    .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
    .order_by(job_files.c.row_id)
    .prefix_with("/* jobs.files */"),
    job_files.c.pandaid,
)
