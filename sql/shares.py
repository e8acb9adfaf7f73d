"""Global shares, resource types and work queues: the tables, what is used of them, and the tags of live work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.errors import Fault, Invalid, NotFound, Unavailable
from ..core.partitions import Limited, Load, Partition, limited, partition_of
from ..core.patterns import ATTRIBUTES
from ..core.shares import Share, Standing, Tree, Turns, Usage, grow, stand, turns
from ..core.states import JOBS, LEASED, QUEUED, TASKS, JobState, TaskState
from ..core.tagging import (
    ResourceType,
    WorkQueue,
    check_resource_types,
    check_work_queues,
    resource_type_of,
    share_of,
    work_queue_of,
)
from . import settings
from .audit import Things
from .tables import global_shares, job_counts, jobs, resource_types, tasks, work_queues

_QUEUE_NAMES = sa.select(work_queues.c.queue_id, work_queues.c.queue_name)
#: Tasks that are tagged again in one go.
PAGE = 500
#: States of tasks that make no jobs; a retry tags its task itself.
OVER = (*sorted(TASKS.final), TaskState.DONE, TaskState.FINISHED)


@dataclass(frozen=True)
class Tags:
    """All that says how work is tagged."""

    tree: Tree
    types: Sequence[ResourceType]
    queues: Sequence[WorkQueue]

    def of(self, work: Mapping[str, Any]) -> dict[str, Any]:
        """The tags of a task with these columns, as columns."""
        share = share_of(self.tree, work)
        kind = resource_type_of(self.types, work["core_count"], work["ram_count_mb"])
        queue = work_queue_of(self.queues, {**work, "gshare": share, "resource_type": kind})
        return {"gshare": share, "resource_type": kind, "work_queue_id": queue}


def tree(tx: sa.Connection) -> Tree:
    """The global shares; raises `Unavailable` if somebody has broken the table by hand: what needs it has to wait."""
    try:
        return grow(_share(row) for row in tx.execute(sa.select(global_shares)))
    except Invalid as error:
        hint = "`bamboo share import` replaces the table by what a file says"
        raise Unavailable(f"the table of shares cannot be used: {error}", hint=hint) from error


def _share(row: sa.Row[Any]) -> Share:
    patterns = {name: pattern for name in ATTRIBUTES if (pattern := row._mapping[name])}
    return Share(row.name, row.parent or None, row.value, row.match_order, patterns)


def _row(share: Share) -> dict[str, Any]:
    patterns = {name: share.patterns.get(name) for name in ATTRIBUTES}
    return {"name": share.name, "parent": share.parent, "value": share.value, "match_order": share.match_order} | (
        patterns
    )


def tags(tx: sa.Connection) -> Tags:
    """What work is tagged by."""
    types = [ResourceType(**row) for row in tx.execute(sa.select(resource_types)).mappings()]
    queues = [WorkQueue(**row) for row in tx.execute(sa.select(work_queues)).mappings()]
    return Tags(tree(tx), types, queues)


def things(tx: sa.Connection) -> Things:
    """Shares, resource types and work queues as they are, right or wrong, to record how they change."""
    tables = (
        ("share", global_shares.c.name),
        ("resource type", resource_types.c.resource_name),
        ("work queue", work_queues.c.queue_name),
    )
    return {
        (what, str(row._mapping[name.name])): dict(row._mapping)
        for what, name in tables
        for row in tx.execute(sa.select(name.table))
    }


def set_shares(tx: sa.Connection, shares: Iterable[Share]) -> Tree:
    """Replace all global shares; raises `Invalid` with all their faults, and leaves what is there."""
    grown = grow(shares)
    faults = [
        Fault(f"share {share.name}, {name}", f"{len(pattern)} letters", f"use up to {longest}")
        for share in grown.shares.values()
        for name, pattern in share.patterns.items()
        if len(pattern) > (longest := int(getattr(global_shares.c[name].type, "length", 64)))
    ]
    if faults:
        raise Invalid("the global shares", faults)
    _hold(tx)
    tx.execute(sa.delete(global_shares))
    if grown.shares:
        tx.execute(sa.insert(global_shares), [_row(share) for share in grown.shares.values()])
    return grown


def _hold(tx: sa.Connection) -> None:
    """Let nobody else change the shares before this transaction ends: each edit is made of what is there."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("LOCK TABLE global_shares IN SHARE ROW EXCLUSIVE MODE"))


def set_share(tx: sa.Connection, share: Share) -> Tree:
    """Enter a global share or replace it; raises `Invalid` when the tree would be none."""
    _hold(tx)
    others = [one for one in tree(tx).shares.values() if one.name != share.name]
    return set_shares(tx, [*others, share])


def remove_share(tx: sa.Connection, name: str) -> Tree:
    """Remove a global share; raises `NotFound`, and `Invalid` when others are under it."""
    _hold(tx)
    have = tree(tx)
    if name not in have.shares:
        raise NotFound(f"there is no share {name}", hint="`bamboo share list` shows what there is")
    return set_shares(tx, [share for share in have.shares.values() if share.name != name])


def set_resource_types(tx: sa.Connection, types: Sequence[ResourceType]) -> None:
    """Replace all resource types; raises `Invalid`."""
    check_resource_types(types)
    tx.execute(sa.delete(resource_types))
    tx.execute(sa.insert(resource_types), [asdict(one) for one in types])


def set_work_queues(tx: sa.Connection, queues: Sequence[WorkQueue]) -> None:
    """Replace all work queues; raises `Invalid`."""
    check_work_queues(queues)
    tx.execute(sa.delete(work_queues))
    if queues:
        tx.execute(sa.insert(work_queues), [{**asdict(one), "criteria": dict(one.criteria)} for one in queues])


def replace_all(
    tx: sa.Connection,
    shares: Iterable[Share] | None,
    types: Sequence[ResourceType] | None,
    queues: Sequence[WorkQueue] | None,
) -> Tree:
    """Replace those tables that are given; raises `Invalid` with the faults of all of them."""
    faults: list[Fault] = []
    steps: list[Callable[[], object]] = []
    if shares is not None:
        steps.append(lambda: set_shares(tx, shares))
    if types is not None:
        steps.append(lambda: set_resource_types(tx, types))
    if queues is not None:
        steps.append(lambda: set_work_queues(tx, queues))
    for step in steps:
        try:
            step()
        except Invalid as error:
            faults += error.faults
    if faults:
        raise Invalid("the shares", faults)
    return tree(tx)


def usage(tx: sa.Connection) -> dict[str, Usage]:
    """What each share has, in cores, by the kept counts."""
    found: dict[str, Usage] = {}
    for row in _counted(tx, job_counts.c.gshare):
        found[row.gshare] = Usage(float(row.running_cores or 0), float(row.queued_cores or 0))
    return found


def limited_queues(tx: sa.Connection) -> Limited:
    """The work queues that are partitions of their own: those that the settings give a limit."""
    names = {row.queue_id: row.queue_name for row in tx.execute(_QUEUE_NAMES)}
    return limited(names, settings.numbers(tx)) if names else {}


def loads(tx: sa.Connection, own: Limited) -> dict[Partition, Load]:
    """The jobs of each partition, by the kept counts."""
    found: dict[Partition, Load] = {}
    for row in _counted(tx, job_counts.c.gshare, job_counts.c.resource_type, job_counts.c.work_queue_id):
        partition = partition_of(row.gshare, row.resource_type, row.work_queue_id, own)
        load = Load(int(row.queued_jobs or 0), int(row.running_jobs or 0))
        found[partition] = found.get(partition, Load()) + load
    return found


def _counted(tx: sa.Connection, *keys: sa.ColumnElement[Any]) -> Iterable[sa.Row[Any]]:
    sums = [
        sa.func.sum(sa.case((job_counts.c.status.in_(states), column), else_=0)).label(f"{name}_{unit}")
        for name, states in (("running", LEASED), ("queued", QUEUED))
        for unit, column in (("cores", job_counts.c.n_cores), ("jobs", job_counts.c.n_jobs))
    ]
    return tx.execute(sa.select(*keys, *sums).group_by(*keys))


def at_queues(tx: sa.Connection) -> dict[str, frozenset[str]]:
    """The shares that have activated jobs at each queue, by the kept counts."""
    found: dict[str, set[str]] = {}
    statement = sa.select(job_counts.c.queue, job_counts.c.gshare).where(job_counts.c.status == JobState.ACTIVATED)
    for queue, share in tx.execute(statement.distinct()):
        found.setdefault(queue, set()).add(share)
    return {queue: frozenset(names) for queue, names in found.items()}


def counted_at(tx: sa.Connection) -> datetime | None:
    """When the jobs were counted last, which is done for all at once; None when there are no counts."""
    last: datetime | None = tx.scalar(sa.select(sa.func.max(job_counts.c.counted_at)))
    return last


def standings(tx: sa.Connection) -> list[Standing]:
    """How the shares stand by the kept counts, the one whose turn it is first; empty without shares."""
    have = tree(tx)
    return stand(have, usage(tx)) if have.shares else []


def order_of(tx: sa.Connection) -> Turns | None:
    """Whose turn it is; None without shares."""
    found = standings(tx)
    return turns(found) if found else None


def retag(tx: sa.Connection, *, after: int = 0, now: datetime) -> tuple[int | None, int, int]:
    """Tag a page of the tasks that are not over, and their jobs, anew.

    Returns the id to go on after (None at the end), and how many tasks and how many jobs have changed. Jobs that run
    are tagged too: else what they use would count for a share that is no more.
    """
    rules = tags(tx)
    page = (
        sa.select(tasks)
        .where(tasks.c.jeditaskid > after, tasks.c.status.not_in(OVER))
        .order_by(tasks.c.jeditaskid)
        .limit(PAGE)
        .with_for_update()
    )
    rows = tx.execute(page).all()
    n_tasks = n_jobs = 0
    for row in rows:
        new = rules.of({**row._mapping})
        if any(row._mapping[name] != value for name, value in new.items()):
            tx.execute(sa.update(tasks).where(tasks.c.jeditaskid == row.jeditaskid).values(modified_at=now, **new))
            n_tasks += 1
        n_jobs += _retag_jobs(tx, row.jeditaskid, new["gshare"], rules.types)
    return (rows[-1].jeditaskid if len(rows) == PAGE else None), n_tasks, n_jobs


def _retag_jobs(tx: sa.Connection, jeditaskid: int, gshare: str, types: Sequence[ResourceType]) -> int:
    """Tag the live jobs of a task; their own cores and memory count, which a retry may have raised."""
    live = (jobs.c.jeditaskid == jeditaskid, jobs.c.status.not_in(list(JOBS.final)))
    sizes = (jobs.c.core_count, jobs.c.min_ram_count_mb)
    changed = 0
    for cores, ram_mb in tx.execute(sa.select(*sizes).where(*live).distinct()).all():
        kind = resource_type_of(types, cores, ram_mb)
        other = sa.or_(jobs.c.gshare != gshare, jobs.c.resource_type != kind)
        statement = sa.update(jobs).where(*live, sizes[0] == cores, sizes[1] == ram_mb, other)
        changed += tx.execute(statement.values(gshare=gshare, resource_type=kind)).rowcount
    return changed
