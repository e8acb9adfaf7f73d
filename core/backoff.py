"""Waiting times between tries, spread so that a crowd of pilots does not come back in step."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential backoff with full jitter: the n-th wait is uniform in [0, min(cap, base * 2**n)] seconds.

    `rng` gives a number in [0, 1); tests hand in their own.
    """

    def __init__(
        self,
        base_seconds: float,
        cap_seconds: float,
        rng: Callable[[], float] = random.random,
    ) -> None:
        if base_seconds <= 0 or cap_seconds < base_seconds:
            raise ValueError(f"backoff needs 0 < base <= cap, got base {base_seconds} and cap {cap_seconds}")
        self.base_seconds = base_seconds
        self.cap_seconds = cap_seconds
        self.tries = 0
        self._rng = rng

    def next_seconds(self) -> float:
        """Say how long to wait now, and widen the next wait."""
        # Past 2**32 the cap has long been reached; larger powers would overflow a float.
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(self.tries, 32))
        self.tries += 1
        return self._rng() * ceiling

    def reset(self) -> None:
        """Start again from the short waits, after a success."""
        self.tries = 0
