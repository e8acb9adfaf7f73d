"""When a task will have its inputs done: a rate from the jobs that just finished, and a range, never one moment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Four of five ends lie within the range, if jobs go on to end as they did: 1.28 standard deviations of a count.
DEVIATIONS = 1.28
#: From fewer jobs nothing is foretold.
FEWEST_JOBS = 3
#: What is further away is as good as never.
LONGEST_HOURS = 365 * 24.0


@dataclass(frozen=True)
class Forecast:
    """Inputs an hour, and between which moments the last one should be done; `latest` is None for an open end."""

    per_hour: float
    earliest: datetime
    latest: datetime | None


def forecast(n_left: int, done: Sequence[tuple[datetime, int]], *, now: datetime) -> Forecast | None:
    """The end of a task with `n_left` inputs to do, from its last jobs as (moment, inputs done).

    The pace is that from the first of these jobs until now, so that a task which stands still gets slower and slower.
    None if there is nothing left, or too little to tell by.
    """
    if n_left <= 0 or len(done) < FEWEST_JOBS:
        return None
    since = min(moment for moment, _ in done)
    hours = (now - since).total_seconds() / 3600
    n_done = sum(n for moment, n in done if moment > since)
    if hours <= 0 or n_done <= 0:
        return None
    pace = n_done / hours
    spread = DEVIATIONS / math.sqrt(len(done) - 1)
    slowest = n_left / (pace * (1 - spread)) if spread < 1 else math.inf
    return Forecast(pace, now + timedelta(hours=min(n_left / (pace * (1 + spread)), LONGEST_HOURS)), _end(now, slowest))


def _end(now: datetime, hours: float) -> datetime | None:
    return now + timedelta(hours=hours) if hours < LONGEST_HOURS else None
