"""Aggregates: the job counts and activity of queues that brokers, throttlers and monitors read instead of counting."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...core.errors import Unavailable
from ...core.shares import SHOWN_SHARES
from ...sql import counts, decisions, grid, settings, shares
from ..context import Context

log = logging.getLogger(__name__)

#: What is decided: always in the same words, so that one row has the last decision and how often there was one.
ORDER = "whose turn it is among the global shares"


@dataclass
class Counted:
    """What a run counted. It never asks for another run at once: to count is not to find work."""


class Aggregates:
    """Keeps the tables `job_counts` and `queue_activity`, and a record of the order of shares that follows from it.

    The order is that of `sql.shares.order_of`, by which the servers give jobs to pilots.
    """

    name = "aggregates"

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Counted:
        """Replace the counts by those of now, measure what queues do, and record the order of shares."""
        now = self.context.clock()
        with self.context.begin() as tx:
            counts.replace(tx, now=now)
        with self.context.begin() as tx:
            grid.measure_activity(tx)
        try:
            self._record_order(now)
        except Unavailable as error:
            log.error("the order of shares is not recorded", extra={"event": "no_share_order", "why": str(error)})
        return Counted()

    def _record_order(self, now: datetime) -> None:
        with self.context.begin() as tx:
            order = shares.order_of(tx)
            if order is not None:
                shown = settings.numbers(tx)(SHOWN_SHARES)
                decisions.record(tx, actor="share_order", what=ORDER, why=order.why(shown), now=now)


def build(context: Context, arguments: Sequence[object] = ()) -> Aggregates:
    """The chore."""
    return Aggregates(context)
