"""Historian: what jobs did over time, for the pages that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.tunables import tunable
from ...sql import history, queue_verdicts, settings
from ..context import Context

#: A step is counted once more after it is over: by then all that ended in it is committed.
SETTLED = timedelta(minutes=10)
#: One run counts no more steps: six days of them.
STEPS = 864
#: What brokers said of queues is kept so long.
VERDICTS_KEPT = timedelta(days=7)
KEEP_DAYS = tunable(
    "pandaserver",
    "history",
    "KEEP_DAYS",
    90.0,
    unit="days",
    source="our choice: a quarter of a year is what people compare with",
    help="Sums of what jobs did, by queue, share, user and state, are kept so long.",
)


@dataclass
class Told:
    """What a run of the historian did."""

    steps: int = 0  # counted, the present one too
    ended: int = 0  # jobs in these
    sampled: bool = False  # whether the jobs that go on were counted
    forgotten: int = 0  # rows


class Historian:
    """Keeps `job_endings` and `job_samples`."""

    name = "historian"

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Told:
        """Count the jobs that ended since the last run, a step a transaction, and those that go on."""
        now = self.context.clock()
        with self.context.reading() as tx:
            oldest = now - timedelta(days=settings.numbers(tx)(KEEP_DAYS))
            last = history.last_step(tx)
        told = Told()
        since = max(min(last, now - SETTLED), oldest) if last else oldest
        while told.steps < STEPS and (at := self._next_step(since)) is not None:
            with self.context.begin() as tx:
                told.ended += history.book_step(tx, at)
            told.steps += 1
            since = at + history.STEP
        told.sampled = self._sample(history.step_of(now))
        with self.context.begin() as tx:
            told.forgotten = history.forget(tx, before=oldest) + queue_verdicts.forget(tx, before=now - VERDICTS_KEPT)
        return told

    def _next_step(self, since: datetime) -> datetime | None:
        """The first step, from that of a moment on, in which a job ended."""
        with self.context.reading() as tx:
            first = history.first_ending(tx, since=history.step_of(since))
        return None if first is None else history.step_of(first)

    def _sample(self, at: datetime) -> bool:
        with self.context.begin() as tx:
            last = history.last_sample(tx)
            if last is not None and last >= at:
                return False
            history.take_sample(tx, at)
            return True


def build(context: Context, arguments: Sequence[object] = ()) -> Historian:
    """The chore."""
    return Historian(context)
