"""Notes when pilots last asked for work, for the brokerage: at most once a minute for each queue and process."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..sql import grid

#: The brokerage counts in hours, so that a minute's delay changes nothing.
EVERY = timedelta(minutes=1)


class Sightings:
    """What one process remembers, so that a request for work costs a statement once a minute only."""

    def __init__(self) -> None:
        self._noted: dict[str, datetime] = {}

    def note(self, engine: sa.Engine, queue: str, now: datetime) -> bool:
        """Note that a pilot is at a queue; False when there is no such queue, by what was seen in the last minute.

        Names that are no queues' are neither noted nor remembered.
        """
        last = self._noted.get(queue)
        if last is not None and now - last < EVERY:
            return True
        with contextlib.suppress(sa.exc.IntegrityError), engine.begin() as tx:  # another process was first
            if not grid.note_pilot(tx, queue, now=now):
                return False
            self._noted[queue] = now
        return True
