"""Whose turn it is among the global shares, kept for some seconds in each server process (manual ch. 14.4)."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.errors import Unavailable
from ..core.shares import Standing, Usage, after, stand, turns
from ..core.tunables import tunable
from ..sql import counts, settings, shares
from ..sql.engine import reading

log = logging.getLogger(__name__)

ORDER_SECONDS = tunable(
    "pandaserver",
    "gshare",
    "ORDER_SECONDS",
    5.0,
    unit="seconds",
    source="our choice: far below the time between two counts of the jobs (30 s), far above that of a claim",
    help="How long a server process uses an order of shares before it looks for new counts and edited shares.",
)
CLAIM_SHARES = tunable(
    "pandaserver",
    "gshare",
    "CLAIM_SHARES",
    8,
    unit="shares",
    source="our choice: each costs a claim about 50 µs, and the first few nearly always have a job that fits",
    help="How many shares a claim looks at one after the other, before it takes the job with the highest priority.",
)


class ShareOrder:
    """The order of shares for claims: from the kept counts, and what was given to pilots since they were made.

    Without the latter all claims between two counts would go to one share. Each process knows at once what it gives
    itself, and tells the others every few seconds; were they not told, each would make up for the whole of what a
    share lacks, and many servers would overshoot together.
    """

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._made_as = uuid.uuid4().hex[:8]
        self._lock = Lock()
        self._fresh_until: datetime | None = None
        self._counted_at: datetime | None = None
        self._usage: Mapping[str, Usage] = {}
        self._at_queues: Mapping[str, frozenset[str]] = {}
        self._standings: Sequence[Standing] = ()  # of the shares that have queued jobs
        self._most = CLAIM_SHARES.default
        self._given: deque[tuple[datetime, str, int]] = deque()  # since the count: when, share, cores
        self._own: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._others: Mapping[str, int] = {}

    def __call__(self, queue: str) -> tuple[str, ...]:
        """The shares with jobs at a queue, the furthest below its target first; empty when there are no shares.

        Shares beyond the first few, and those whose first jobs came after the count, are left out: a claim takes their
        jobs by priority when those named have none that fits.
        """
        with self._lock:
            now = self._clock()
            if self._fresh_until is None or now >= self._fresh_until:
                self._try_refresh(now)
            here = self._at_queues.get(queue)
            if not here or not self._standings:
                return ()
            at_queue = [one for one in self._standings if one.share in here]
            given = {one.share: self._own[one.share] + self._others.get(one.share, 0) for one in at_queue}
            return tuple(one.share for one in after(at_queue, given)[: self._most])

    @property
    def _name(self) -> str:
        """The name of this process, which may be a fork of the one that made this object."""
        return f"{socket.gethostname()}:{os.getpid()}:{self._made_as}"[-128:]

    def note(self, claimed: Sequence[Any], now: datetime) -> None:
        """Take into account that these jobs were given to pilots."""
        with self._lock:
            if self._standings:
                self._given += [(now, job.gshare, job.core_count) for job in claimed]
                for job in claimed:
                    self._own[job.gshare] += job.core_count

    def _try_refresh(self, now: datetime) -> None:
        """Pilots get work all the same when the shares cannot be read, in the last order that there was."""
        self._fresh_until = now + timedelta(seconds=ORDER_SECONDS.default)
        try:
            self._refresh(now)
        except Unavailable as error:
            log.error("no new order of shares", extra={"event": "share_order_kept", "why": str(error)})

    def _refresh(self, now: datetime) -> None:
        with reading(self._engine) as tx:
            tree = shares.tree(tx)
            numbers = settings.numbers(tx)
            counted_at = shares.counted_at(tx) if tree.shares else None
            if counted_at is not None:
                self._others = counts.given_by_others(tx, self._name, counted_at=counted_at)
            if counted_at != self._counted_at:
                self._usage, self._at_queues, self._counted_at = shares.usage(tx), shares.at_queues(tx), counted_at
        self._standings = turns(stand(tree, self._usage)).passage.left if tree.shares else ()
        self._fresh_until = now + timedelta(seconds=numbers(ORDER_SECONDS))
        self._most = max(1, numbers(CLAIM_SHARES))
        self._forget_counted()
        if counted_at is not None and self._own != self._told:
            with self._engine.begin() as tx:
                counts.set_given(tx, self._name, self._own, counted_at=counted_at)
            self._told = Counter(self._own)

    def _forget_counted(self) -> None:
        while self._given and self._counted_at is not None and self._given[0][0] < self._counted_at:
            _, share, cores = self._given.popleft()
            self._own[share] -= cores
        self._own = +self._own
