"""One Job Generator for each partition at a time, each partition in its turn, none above its limit (ch. 14.3).

There are partitions as soon as there are global shares, or a work queue that has a limit of its own
(`core.partitions`). Tasks without a share are in the partition of the share `Undefined` then.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.gates import Passage
from ..core.partitions import Limit, Limited, Load, Partition, throttled
from ..core.states import TaskState
from ..plugins.contracts import Throttle
from ..sql import leases, settings, shares, tasks
from ..sql.engine import reading
from ..sql.leases import Lease
from .context import Context


@dataclass(frozen=True)
class Turn:
    """A partition that this agent holds, with the jobs it has and may have."""

    limit: Limit
    lease: Lease
    counted_at: datetime | None


class Turns:
    """Gives an agent the partition whose turn was the longest ago, under a lease. Without
    shares and limits of work queues there is but one partition that everybody works on, and no limit."""

    def __init__(self, context: Context, owner: str) -> None:
        self._context = context
        self._owner = owner
        self._turn: Turn | None = None
        #: What this agent has made of each partition and the counts may not have yet: (when, how many).
        self._made: dict[Partition, deque[tuple[datetime, int]]] = defaultdict(deque)

    @contextmanager
    def next(
        self, statuses: Sequence[TaskState], conditions: Sequence[sa.ColumnElement[bool]]
    ) -> Iterator[Sequence[sa.ColumnElement[bool]] | None]:
        """The conditions that a task of the next partition meets, while it is held; None when there is none to have."""
        with reading(self._context.engine) as tx:
            own = shares.limited_queues(tx)
            divided = bool(own or shares.tree(tx).shares)
        if not divided:
            yield ()
            return
        self._turn = self._take(statuses, conditions, own)
        if self._turn is None:
            yield None
            return
        try:
            yield tasks.of_partition(self._turn.limit.partition, own)
        finally:
            with self._context.engine.begin() as tx:
                leases.release(tx, self._turn.lease)
            self._turn = None

    def _take(
        self, statuses: Sequence[TaskState], conditions: Sequence[sa.ColumnElement[bool]], own: Limited
    ) -> Turn | None:
        now = self._context.clock()
        with reading(self._context.engine) as tx:
            waiting = tasks.partitions(tx, statuses, now=now, own=own, conditions=conditions)
            served = leases.last_runs(tx, [partition.lease_name for partition in waiting])
            loads = shares.loads(tx, own) if waiting else {}
            counted_at, numbers = shares.counted_at(tx), settings.numbers(tx)
        never = datetime.min.replace(tzinfo=now.tzinfo)
        for partition in sorted(waiting, key=lambda one: (served.get(one.lease_name) or never, one)):
            with self._context.engine.begin() as tx:
                lease = leases.acquire(tx, partition.lease_name, self._owner, until=self._until(now), now=now)
            if lease is not None:
                return Turn(Limit(partition, loads.get(partition, Load()), numbers), lease, counted_at)
        return None

    def _until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._context.settings.master.lease_seconds)

    def keep(self, tx: sa.Connection, now: datetime) -> None:
        """Keep the partition for longer; raises `LeaseLost` when another agent has it."""
        if self._turn is not None:
            leases.renew(tx, self._turn.lease, until=self._until(now))

    def note(self, n_jobs: int, now: datetime) -> None:
        """Take into account that jobs were made."""
        if self._turn is not None and n_jobs:
            self._made[self._turn.limit.partition].append((now, n_jobs))

    def throttle(self, throttle: Throttle) -> tuple[Throttle, dict[str, Any]]:
        """What a throttler has allowed, within the partition's limit; and what is to be recorded of it."""
        if self._turn is None:
            return throttle, {}
        limit = self._with_own(self._turn)
        passage: Passage[Limit] = throttled(limit)
        if limit.room >= throttle.max_new_jobs:
            return throttle, {}
        load = limit.load
        why = f"{load.queued} jobs of {limit.partition} are queued and {load.running} run: {limit.most} may be queued"
        return Throttle(limit.room, why), passage.why()

    def _with_own(self, turn: Turn) -> Limit:
        """The limit of the partition, with what this agent has made since the jobs were counted."""
        made = self._made[turn.limit.partition]
        while made and turn.counted_at is not None and made[0][0] < turn.counted_at:
            made.popleft()
        load = turn.limit.load
        return replace(turn.limit, load=replace(load, queued=load.queued + sum(n for _, n in made)))
