"""When an agent may rest: nothing was written since its last round found nothing, and nothing falls due by time.

To look for work is a transaction, on SQLite even one that others wait for; to see that nothing has changed is not.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Protocol

from ..core.clock import Clock
from ..sql.changes import ChangeWatch

#: However quiet it is, an agent looks this often. One with a longer period never rests between two rounds.
LONGEST_REST_SECONDS = 5.0


class Patient(Protocol):
    """An agent that knows what it waits for."""

    def due_at(self, since: datetime) -> datetime | None:
        """When there is something to do even if nothing is written; None: never.

        `since` is a moment before its last round: what fell due between that round and now counts as well.
        """


class Rest:
    """Asked before each round of an agent whether the round can be left out."""

    def __init__(self, agent: Patient, changes: ChangeWatch, clock: Clock) -> None:
        self._agent = agent
        self._changes = changes
        self._clock = clock
        self._round_at = float("-inf")
        self._round_began = clock()
        self._due_at: datetime | None = None
        self._due_is_known = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._changes.unchanged() and now - self._round_at < LONGEST_REST_SECONDS and not self._is_due():
            return True
        self._round_at, self._round_began, self._due_is_known = now, self._clock(), False
        return False

    def _is_due(self) -> bool:
        if not self._due_is_known:
            self._due_at, self._due_is_known = self._agent.due_at(self._round_began), True
        return self._due_at is not None and self._due_at <= self._clock()
