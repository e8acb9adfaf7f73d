"""How fast a task gets through its inputs, and when it may be over: a range, because nobody knows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import sqrt

#: The recent rate is taken over this long.
WINDOW_SECONDS = 120.0


@dataclass(frozen=True)
class Sample:
    """How many inputs were over (processed or given up) at one time."""

    at_seconds: float
    done: int


@dataclass
class Progress:
    """Collects what is seen of a task and says rate and expected end."""

    total: int = 0
    done: int = 0
    first: Sample | None = None
    recent: deque[Sample] = field(default_factory=deque)

    def see(self, at_seconds: float, done: int, total: int) -> None:
        """Take in one look at the task; a count that went back (a retry) starts the measurement again."""
        if self.first is None or done < self.done:
            self.first = Sample(at_seconds, done)
            self.recent.clear()
        self.total, self.done = total, done
        self.recent.append(Sample(at_seconds, done))
        while len(self.recent) > 2 and at_seconds - self.recent[0].at_seconds > WINDOW_SECONDS:
            self.recent.popleft()

    def rates(self) -> tuple[float, ...]:
        """Inputs per second since the first look and lately, where anything was seen to move."""
        if self.first is None or not self.recent:
            return ()
        last = self.recent[-1]
        pairs = ((self.first, last), (self.recent[0], last))
        measured = (rate_between(before, after) for before, after in pairs)
        return tuple(rate for rate in measured if rate > 0)

    @property
    def rate_per_second(self) -> float:
        """The recent rate, or 0 while nothing has moved."""
        rates = self.rates()
        return rates[-1] if rates else 0.0

    def remaining_seconds(self) -> tuple[float, float] | None:
        """(earliest, latest) seconds to the end, or None while there is nothing to go by.

        The rates are those since the start and lately; the count of n inputs seen is trusted to 1/sqrt(n).
        """
        rates = self.rates()
        if not rates or self.first is None:
            return None
        spread = min(0.5, 1 / sqrt(self.done - self.first.done))
        left = max(0, self.total - self.done)
        return left / (max(rates) * (1 + spread)), left / (min(rates) * (1 - spread))


def rate_between(before: Sample, after: Sample) -> float:
    """Inputs per second between two looks; 0 if no time has passed."""
    seconds = after.at_seconds - before.at_seconds
    return (after.done - before.done) / seconds if seconds > 0 else 0.0
