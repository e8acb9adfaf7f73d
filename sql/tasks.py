"""Tasks: submitting, holding, moving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import IllegalTransition, LeaseLost, NotFound, Stale
from ..core.partitions import Limited, Partition, partition_of
from ..core.states import TASKS, TaskState
from . import notifications
from .engine import skip_locked
from .tables import task_events, task_params, tasks

#: States that a task leaves to the state it had before.
SUSPENDED = (TaskState.PENDING, TaskState.THROTTLED, TaskState.PAUSED)
#: What the reason of a task begins with that waits since no queue takes its jobs.
NO_QUEUE = "no queue fits"
#: A task whose holders died this often is put aside, so that it cannot take the agents down one after the other.
POISON_AFTER = 3


_NO_LEASE = {"lease_owner": None, "lease_until": None, "lost_leases": 0}


@dataclass(frozen=True)
class TaskRef:
    """What its holder believes a task to be; `owner` names the lease under which it may write."""

    jeditaskid: int
    status: TaskState
    owner: str | None = None


def insert_task(
    tx: sa.Connection, parameters: dict[str, Any], *, actor: str, now: datetime, request_id: str | None, **columns: Any
) -> int:
    """Enter a submitted task as `registered`, with its parameters as they came; returns its id."""
    values = {"status": TaskState.REGISTERED, "created_at": now, "modified_at": now, "state_changed_at": now, **columns}
    jeditaskid = int(tx.execute(sa.insert(tasks).values(values).returning(tasks.c.jeditaskid)).scalar_one())
    tx.execute(sa.insert(task_params).values(jeditaskid=jeditaskid, parameters=parameters))
    _log(tx, jeditaskid, None, TaskState.REGISTERED, actor, "submitted", now, request_id)
    return jeditaskid


def get_task(tx: sa.Connection, jeditaskid: int, *, lock: bool = False) -> sa.Row[Any]:
    """The row of one task, locked for this transaction if asked; raises `NotFound`."""
    statement = sa.select(tasks).where(tasks.c.jeditaskid == jeditaskid)
    row = tx.execute(statement.with_for_update() if lock else statement).first()
    if row is None:
        raise NotFound(f"there is no task {jeditaskid}", hint="`bamboo task list` shows yours")
    return row


def get_parameters(tx: sa.Connection, jeditaskid: int) -> dict[str, Any]:
    """The parameters of a task; raises `NotFound`."""
    parameters = tx.execute(
        sa.select(task_params.c.parameters).where(task_params.c.jeditaskid == jeditaskid)
    ).scalar_one_or_none()
    if parameters is None:
        raise NotFound(f"there is no task {jeditaskid}")
    return dict(parameters)


def set_parameters(tx: sa.Connection, jeditaskid: int, parameters: dict[str, Any]) -> None:
    """Replace the parameters of a task."""
    tx.execute(sa.update(task_params).where(task_params.c.jeditaskid == jeditaskid).values(parameters=parameters))


def submitted_before(tx: sa.Connection, user_name: str, idempotency_key: str) -> int | None:
    """The task that this user's request of that name has made already."""
    return tx.execute(
        sa.select(tasks.c.jeditaskid).where(tasks.c.user_name == user_name, tasks.c.idempotency_key == idempotency_key)
    ).scalar_one_or_none()


def namesakes(
    tx: sa.Connection, task_name: str, user_name: str | None, vo: str, prod_source_label: str
) -> list[sa.Row[Any]]:
    """Tasks with the same name, of one user or (without a name) of all, newest first."""
    statement = sa.select(tasks.c.jeditaskid, tasks.c.status, tasks.c.user_name).where(
        tasks.c.task_name == task_name, tasks.c.vo == vo, tasks.c.prod_source_label == prod_source_label
    )
    if user_name is not None:
        statement = statement.where(tasks.c.user_name == user_name)
    return list(tx.execute(statement.order_by(tasks.c.jeditaskid.desc())))


def take(
    tx: sa.Connection,
    statuses: Iterable[TaskState],
    *,
    owner: str,
    until: datetime,
    now: datetime,
    limit: int,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> list[sa.Row[Any]]:
    """Take leases on tasks that nobody holds and whose time has come; best priority first. Returns their rows.

    A lease that ran out without being given back is counted: its holder died or hung over this task. From
    `POISON_AFTER` on, `next_round_at` of such a task is empty: it has not been put aside since.
    """
    # Databases disagree on where nulls come in an order.
    never_put_off = sa.case((tasks.c.next_round_at.is_(None), 0), else_=1)
    free = (
        sa.select(tasks.c.jeditaskid)
        .where(*_waiting(statuses, now), *conditions)
        .order_by(tasks.c.current_priority.desc(), never_put_off, tasks.c.next_round_at, tasks.c.jeditaskid)
        .limit(limit)
    )
    lost = tasks.c.lease_owner.is_not(None)
    statement = (
        sa.update(tasks)
        .where(tasks.c.jeditaskid.in_(sa.select(skip_locked(free).cte("free").c.jeditaskid)))
        .values(
            lease_owner=owner,
            lease_until=until,
            lost_leases=sa.case((lost, tasks.c.lost_leases + 1), else_=tasks.c.lost_leases),
            next_round_at=sa.case(
                (sa.and_(lost, tasks.c.lost_leases + 1 >= POISON_AFTER), sa.null()), else_=tasks.c.next_round_at
            ),
        )
        .returning(*tasks.c)
        .prefix_with("/* tasks.take */")
    )
    return sorted(tx.execute(statement).all(), key=lambda task: (-task.current_priority, task.jeditaskid))


def due_at(
    tx: sa.Connection,
    statuses: Iterable[TaskState],
    *,
    since: datetime,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> datetime | None:
    """The first moment after `since` at which `take` finds a task by time alone: it was put off, or its lease ends."""
    moments = [
        sa.select(sa.func.min(column)).where(tasks.c.status.in_(list(statuses)), column >= since, *conditions)
        for column in (tasks.c.next_round_at, tasks.c.lease_until)
    ]
    return min((moment for statement in moments if (moment := tx.execute(statement).scalar_one())), default=None)


def _waiting(statuses: Iterable[TaskState], now: datetime) -> list[sa.ColumnElement[bool]]:
    """What holds of tasks in these states that nobody holds and whose time has come."""
    return [
        tasks.c.status.in_(list(statuses)),
        sa.or_(tasks.c.lease_until.is_(None), tasks.c.lease_until < now),
        sa.or_(tasks.c.next_round_at.is_(None), tasks.c.next_round_at <= now),
    ]


def partitions(
    tx: sa.Connection,
    statuses: Iterable[TaskState],
    *,
    now: datetime,
    own: Limited,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> list[Partition]:
    """The partitions of the tasks that `take` would give now; `own` are the work queues that are some."""
    tags = sa.select(tasks.c.gshare, tasks.c.resource_type, tasks.c.work_queue_id)
    statement = tags.where(*_waiting(statuses, now), *conditions).distinct()
    return sorted({partition_of(*row, own) for row in tx.execute(statement)})


def of_partition(partition: Partition, own: Limited) -> tuple[sa.ColumnElement[bool], ...]:
    """What holds of the tasks of a partition; `own` are the work queues that are partitions."""
    queue = tasks.c.work_queue_id
    if partition.work_queue:
        return (queue.in_([number for number, name in own.items() if name == partition.work_queue]),)
    of_share = (tasks.c.gshare == partition.gshare, tasks.c.resource_type == partition.resource_type)
    return (*of_share, sa.or_(queue.is_(None), queue.not_in(list(own)))) if own else of_share


def hold(tx: sa.Connection, held: TaskRef) -> sa.Row[Any]:
    """Lock a task that is held under a lease and return its row as it is now.

    Raises `LeaseLost` when the lease has passed to another, and `Stale` when the task is in another state.
    """
    row = get_task(tx, held.jeditaskid, lock=True)
    if row.lease_owner != held.owner:
        raise LeaseLost(f"task {held.jeditaskid} is held by {row.lease_owner or 'nobody'}, not by {held.owner}")
    if row.status != held.status:
        raise Stale(f"task {held.jeditaskid} has gone from {held.status} to {row.status}")
    return row


def extend(tx: sa.Connection, held: TaskRef, *, until: datetime) -> None:
    """Keep a lease for longer; raises `LeaseLost`."""
    statement = sa.update(tasks).where(tasks.c.jeditaskid == held.jeditaskid, tasks.c.lease_owner == held.owner)
    if tx.execute(statement.values(lease_until=until)).rowcount != 1:
        raise LeaseLost(f"task {held.jeditaskid} is no longer held by {held.owner}")


def release(
    tx: sa.Connection, held: TaskRef, *, next_round_at: datetime | None = None, still_suspect: bool = False
) -> None:
    """Give a lease back; the task is left alone until `next_round_at`. Nothing happens when it was lost.

    The leases that were lost over it are forgotten, unless it is `still_suspect`: then nothing has come of it yet.
    """
    forgotten = {} if still_suspect else {"lost_leases": 0}
    tx.execute(
        sa.update(tasks)
        .where(tasks.c.jeditaskid == held.jeditaskid, tasks.c.lease_owner == held.owner)
        .values(lease_owner=None, lease_until=None, next_round_at=next_round_at, **forgotten)
    )


def move_task(
    tx: sa.Connection,
    held: TaskRef,
    to: TaskState,
    *,
    actor: str,
    why: str,
    now: datetime,
    request_id: str | None = None,
    **also: Any,
) -> TaskRef:
    """Take one step of the state machine, if the task still is what its holder believes, and log the step.

    A step to an end gives the lease back as well: nobody would take it from a holder that dies before it does so.
    Raises `IllegalTransition` for a step that the table does not have, `Stale` when somebody else moved it first.
    """
    if not TASKS.allows(held.status, to):
        raise IllegalTransition(f"task {held.jeditaskid} may not go from {held.status} to {to}")
    values: dict[str, Any] = {"status": to, "modified_at": now, "state_changed_at": now, "next_round_at": None}
    values |= {"jobs_archived_at": None, **also}  # the task may make jobs again
    if to in notifications.TOLD and held.owner is not None:
        values |= _NO_LEASE
    if to in SUSPENDED and held.status not in SUSPENDED:
        values["old_status"] = held.status
    statement = sa.update(tasks).where(tasks.c.jeditaskid == held.jeditaskid, tasks.c.status == held.status)
    if held.owner is not None:
        statement = statement.where(tasks.c.lease_owner == held.owner)
    if tx.execute(statement.values(values).prefix_with("/* tasks.move */")).rowcount != 1:
        raise Stale(f"task {held.jeditaskid} is no longer {held.status} in the hands of {held.owner or 'anybody'}")
    _log(tx, held.jeditaskid, held.status, to, actor, why, now, request_id)
    if to in notifications.TOLD:
        notifications.add(tx, held.jeditaskid, to, why, now=now)
    return TaskRef(held.jeditaskid, to, held.owner)


def update_task(tx: sa.Connection, jeditaskid: int, **values: Any) -> None:
    """Set columns of a task other than its state."""
    tx.execute(sa.update(tasks).where(tasks.c.jeditaskid == jeditaskid).values(values))


def wake(tx: sa.Connection, *, now: datetime) -> int:
    """Have tasks looked at again at once that wait since no queue took them: a queue has changed. Returns how many.

    Those that somebody else holds at this moment are passed over.
    """
    waiting = sa.select(tasks.c.jeditaskid).where(
        tasks.c.status == TaskState.PENDING, tasks.c.next_round_at > now, tasks.c.error_dialog.startswith(NO_QUEUE)
    )
    free = sa.select(skip_locked(waiting).cte("waiting").c.jeditaskid)
    return tx.execute(sa.update(tasks).where(tasks.c.jeditaskid.in_(free)).values(next_round_at=now)).rowcount


def take_serials(tx: sa.Connection, jeditaskid: int, n: int) -> int:
    """Reserve `n` serial numbers for jobs of a task and return the first."""
    statement = (
        sa.update(tasks)
        .where(tasks.c.jeditaskid == jeditaskid)
        .values(next_serial_nr=tasks.c.next_serial_nr + n)
        .returning(tasks.c.next_serial_nr)
    )
    return int(tx.execute(statement).scalar_one()) - n


def in_states(
    tx: sa.Connection,
    statuses: Iterable[TaskState],
    *,
    limit: int,
    changed_before: datetime | None = None,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> list[sa.Row[Any]]:
    """Tasks in the given states, those that changed longest ago first."""
    statement = sa.select(tasks).where(tasks.c.status.in_(list(statuses)), *conditions)
    if changed_before is not None:
        statement = statement.where(tasks.c.state_changed_at < changed_before)
    return list(tx.execute(statement.order_by(tasks.c.state_changed_at).limit(limit)))


def kinds_in(tx: sa.Connection, status: TaskState) -> list[tuple[str, str]]:
    """The organisations and activities that have tasks in a state: [(vo, prod_source_label)]."""
    statement = sa.select(tasks.c.vo, tasks.c.prod_source_label).where(tasks.c.status == status).distinct()
    return [(row.vo, row.prod_source_label) for row in tx.execute(statement.order_by(*statement.selected_columns))]


def ref(row: sa.Row[Any], owner: str | None = None) -> TaskRef:
    """The reference to a task of which a row was read."""
    return TaskRef(row.jeditaskid, TaskState(row.status), owner)


def _log(
    tx: sa.Connection,
    jeditaskid: int,
    old: TaskState | None,
    new: TaskState,
    actor: str,
    why: str,
    now: datetime,
    request_id: str | None,
) -> None:
    tx.execute(
        sa.insert(task_events).values(
            jeditaskid=jeditaskid,
            old_status=old,
            new_status=new,
            actor=actor[:128],
            why=why[:1024],
            request_id=request_id,
            at=now,
        )
    )
