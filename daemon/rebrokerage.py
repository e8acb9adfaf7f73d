"""Fast rebrokerage: queues where a share has so many jobs waiting that they are better sent elsewhere (ch. 12.1.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ..core.states import JobState
from ..core.tunables import Numbers, tunable
from .timeouts import SOURCE

#: Where PanDA's gdpconfig has these thresholds.
APP, COMPONENT = "jedi", "rebroker"
NQNR_RATIO = tunable(
    APP,
    COMPONENT,
    "FAST_REBRO_THRESHOLD_NQNR_RATIO",
    3.0,
    unit="queued per running job",
    source=f"{SOURCE}; the number is our choice",
)
NQUEUE_FRACTION = tunable(
    APP,
    COMPONENT,
    "FAST_REBRO_THRESHOLD_NQUEUE_FRAC",
    0.3,
    unit="of all queued jobs of the share",
    source=f"{SOURCE}; the number is our choice",
    most=1,
)
NQUEUE = tunable(
    APP,
    COMPONENT,
    "FAST_REBRO_THRESHOLD_NQUEUE_",
    0,
    unit="jobs",
    source=SOURCE,
    help="queued of the share named after it; without this setting the share is never rebrokered so",
)
#: The states of jobs that are taken back.
QUEUED = (JobState.DEFINED, JobState.ASSIGNED, JobState.ACTIVATED, JobState.STARTING)


@dataclass(frozen=True)
class Overfull:
    """A queue with too many waiting jobs of a share."""

    queue: str
    gshare: str
    n_queued: int
    n_running: int
    n_everywhere: int

    def __str__(self) -> str:
        return (
            f"{self.n_queued} jobs of the share {self.gshare} wait at {self.queue}, {self.n_running} run there, "
            f"and {self.n_everywhere} wait everywhere"
        )


def overfull(counts: Iterable[Any], numbers: Numbers, excepted: Collection[str] = ()) -> list[Overfull]:
    """The queues and shares over all three thresholds; `counts` are rows of `job_counts`.

    `excepted` are queues to which no rule applies, and those with `numSlots`, which are filled beforehand on purpose.
    """
    queued: dict[tuple[str, str], int] = {}
    running: dict[tuple[str, str], int] = {}
    everywhere: dict[str, int] = {}
    for row in counts:
        key = (row.queue, row.gshare)
        if row.status in QUEUED:
            queued[key] = queued.get(key, 0) + row.n_jobs
            everywhere[row.gshare] = everywhere.get(row.gshare, 0) + row.n_jobs
        elif row.status == JobState.RUNNING:
            running[key] = running.get(key, 0) + row.n_jobs
    found = []
    for (queue, gshare), n_queued in sorted(queued.items()):
        least, n_running = numbers(NQUEUE, gshare), running.get((queue, gshare), 0)
        if queue in excepted or not 0 < least < n_queued:
            continue
        if n_queued <= numbers(NQNR_RATIO) * n_running:
            continue
        if n_queued > numbers(NQUEUE_FRACTION) * everywhere[gshare]:
            found.append(Overfull(queue, gshare, n_queued, n_running, everywhere[gshare]))
    return found
