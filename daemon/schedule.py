"""When each chore is due: pure arithmetic on the monotonic clock, without processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .chore import Chore
from .messages import Outcome, Result

#: A chore that fails waits a second, then twice as long each time, up to its period or this.
MAX_PAUSE_SECONDS = 60.0


@dataclass
class Planned:
    """A chore with its past and its next run. Times are seconds of the monotonic clock."""

    chore: Chore
    due_at: float
    began_at: float | None = None
    failures: int = 0
    continues: bool = False  #: the run before found work and asked for another at once
    dead_owner: str | None = None  #: the worker that died in the run before
    overrun_told: bool = False

    def begin(self, now: float) -> None:
        self.began_at, self.overrun_told = now, False

    def end(self, outcome: Outcome, now: float, rng: Callable[[], float] = random.random) -> None:
        """Note how the run ended and decide when the next one is due."""
        began_at = now if self.began_at is None else self.began_at
        self.began_at, self.dead_owner, self.continues = None, None, False
        if outcome.result is Result.FAILED:
            self._pause(now, rng)
            return
        self.failures = 0
        self.due_at = max(now, began_at + self.chore.period_seconds)
        if outcome.result is Result.ELSEWHERE:
            self.due_at = now + outcome.wait_seconds
        elif outcome.result is Result.WORKED and self.chore.loop:
            self.due_at, self.continues = now, True

    def crash(self, owner: str, now: float, rng: Callable[[], float] = random.random) -> None:
        """The worker died in the run: its work is due again, to be done by another."""
        self.began_at, self.continues, self.dead_owner = None, False, owner
        self._pause(now, rng)

    def overruns(self, now: float) -> bool:
        """Whether the run takes longer than the period and nobody was told yet (manual ch. 11.1.4: not with `loop`)."""
        return self.began_at is not None and not self.overrun_told and now >= self.overrun_at

    @property
    def overrun_at(self) -> float:
        if self.began_at is None or self.overrun_told or self.chore.loop:
            return float("inf")
        return self.began_at + self.chore.period_seconds

    def _pause(self, now: float, rng: Callable[[], float]) -> None:
        ceiling = min(max(self.chore.period_seconds, MAX_PAUSE_SECONDS), 2.0 ** min(self.failures, 16))
        self.failures += 1
        self.due_at = now + ceiling * (0.5 + rng() / 2)


def due(planned: Iterable[Planned], now: float) -> list[Planned]:
    """The chores whose time has come and that do not run, the one that has waited longest first."""
    waiting = [one for one in planned if one.began_at is None and one.due_at <= now]
    return sorted(waiting, key=lambda one: one.due_at)
