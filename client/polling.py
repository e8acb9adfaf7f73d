"""Asking again until something is so: with growing pauses, a deadline, and patience for a server that restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .errors import ServerUnreachable, WaitTimedOut

T = TypeVar("T")


@dataclass(frozen=True)
class Poller:
    """How to wait. The clock (seconds, never going back) and the sleeping are arguments, for tests."""

    first_seconds: float = 0.2
    longest_seconds: float = 5.0
    growth: float = 1.5
    patience_seconds: float = 600.0  #: how long the server may be away before waiting is given up
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(self, look: Callable[[], T], done: Callable[[T], bool], timeout_seconds: float | None = None) -> T:
        """Call `look` until `done` of what it gave. Raises `WaitTimedOut`, or what `look` raises."""
        deadline = float("inf") if timeout_seconds is None else self.clock() + timeout_seconds
        pause = self.first_seconds
        seen_at = self.clock()
        while True:
            try:
                seen = look()
                if done(seen):
                    return seen
                seen_at = self.clock()
            except ServerUnreachable:
                if self.clock() - seen_at > self.patience_seconds:
                    raise
            left = deadline - self.clock()
            if left <= 0:
                raise WaitTimedOut(f"not over after {timeout_seconds:g} s", hint="it goes on; wait again or watch it")
            self.sleep(min(pause, left))
            pause = min(pause * self.growth, self.longest_seconds)
