"""One Job Generator for each partition at a time, each partition in its turn, none above its limit (ch. 14.3).

There are partitions as soon as there are global shares, or a work queue that has a limit of its own
(`core.partitions`). Tasks without a share are in the partition of the share `Undefined` then.
"""

from __future__ import annotations

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
    """A partition that this agent holds, with the jobs it had when the turn began and may have."""

    limit: Limit
    lease: Lease


class Turns:
    """Gives an agent the partition whose turn was the longest ago, under a lease. Without
    shares and limits of work queues there is but one partition that everybody works on, and no limit."""

    def __init__(self, context: Context, owner: str) -> None:
        self._context = context
        self._owner = owner
        self._turn: Turn | None = None
        #: Jobs made in this turn.
        self._made = 0

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
        never = datetime.min.replace(tzinfo=now.tzinfo)
        for partition in sorted(waiting, key=lambda one: (served.get(one.lease_name) or never, one)):
            with self._context.engine.begin() as tx:
                lease = leases.acquire(tx, partition.lease_name, self._owner, until=self._until(now), now=now)
            if lease is not None:
                return Turn(self._limit(partition, own), lease)
        return None

    def _limit(self, partition: Partition, own: Limited) -> Limit:
        """The limit of a partition that is held: what others have made of it is in the counts (`sql.counts.add`)."""
        self._made = 0
        with reading(self._context.engine) as tx:
            return Limit(partition, shares.loads(tx, own).get(partition, Load()), settings.numbers(tx))

    def _until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._context.settings.master.lease_seconds)

    def keep(self, tx: sa.Connection, now: datetime) -> None:
        """Keep the partition for longer; raises `LeaseLost` when another agent has it."""
        if self._turn is not None:
            leases.renew(tx, self._turn.lease, until=self._until(now))

    def note(self, n_jobs: int) -> None:
        """Take into account that jobs were made."""
        self._made += n_jobs

    def throttle(self, throttle: Throttle) -> tuple[Throttle, dict[str, Any]]:
        """What a throttler has allowed, within the partition's limit; and what is to be recorded of it."""
        if self._turn is None:
            return throttle, {}
        turn = self._turn.limit
        limit = replace(turn, load=turn.load + Load(queued=self._made))
        passage: Passage[Limit] = throttled(limit)
        if limit.room >= throttle.max_new_jobs:
            return throttle, {}
        load = limit.load
        why = f"{load.queued} jobs of {limit.partition} are queued and {load.running} run: {limit.most} may be queued"
        return Throttle(limit.room, why), passage.why()
