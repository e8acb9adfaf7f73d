"""How often one user may ask: so many requests a minute, of which as many may come at once.

Each process counts for itself, in memory: a user gets as many times the figure as there are processes, and starts anew
when they are started. What is kept in the database would cost every request more than most requests do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..core.errors import TooMany

#: Users that are remembered. Before there are more, those are forgotten who may ask as much as they like by now.
MOST_USERS = 10_000


class Rates:
    """Allows each user `per_minute` requests a minute; 0 allows any number.

    A user who has not asked for a minute may ask so often at once. `clock` gives seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._per_second = per_minute / 60
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  #: by user: requests that were left at that moment

    def ask(self, user: str) -> None:
        """Count a request of a user; raises `TooMany`, which counts nothing."""
        if not self._per_minute:
            return
        with self._lock:
            now = self._clock()
            left = self._left_at(user, now)
            if left >= 1:
                if user not in self._left and len(self._left) >= MOST_USERS:
                    self._forget(now)
                self._left[user] = (left - 1, now)
                return
        seconds = (1 - left) / self._per_second
        raise TooMany(
            f"{user} has made more than {self._per_minute} requests in a minute",
            seconds=seconds,
            hint="ask less often, or for more at a time; the administrator sets [server] requests_per_minute",
        )

    def _left_at(self, user: str, now: float) -> float:
        left, at = self._left.get(user, (float(self._per_minute), now))
        return min(self._per_minute, left + (now - at) * self._per_second)

    def _forget(self, now: float) -> None:
        """Forget whoever has been quiet for a minute, and if that is nobody, everybody: memory is bounded."""
        self._left = {user: kept for user, kept in self._left.items() if self._left_at(user, now) < self._per_minute}
        if len(self._left) >= MOST_USERS:
            self._left.clear()
