"""Pilots are told of those who read the output of their jobs, by PanDA's debug mode: ours then report every 2 s.

When the last reader that a process has of a job goes, the order is taken back if it was this process that gave it. A
process that still has readers of the same job gives it again.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from ...core.states import LEASED
from ...sql import jobs
from .. import pilot_orders
from .feeds import Output

_NONE = (None, pilot_orders.DEBUG_OFF)


class Watching:
    """The jobs whose pilots one process has told."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._told: set[int] = set()

    def keep(self, read: Mapping[int, Output]) -> None:
        """Have the pilots of jobs that are read report often, and those not any more that are not read now."""
        new = sorted(key for key, one in read.items() if one.status in LEASED and one.order in _NONE)
        over = sorted(self._told.difference(read))
        if not new and not over:
            return
        with self._engine.begin() as tx:
            for ids, before, order in ((new, _NONE, pilot_orders.DEBUG), (over, [pilot_orders.DEBUG], _NONE[1])):
                if ids:
                    jobs.replace_order(tx, ids, before, order)
        self._told = self._told.difference(over).union(new)
