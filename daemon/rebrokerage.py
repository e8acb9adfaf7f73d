"""Fast rebrokerage: queues where a share has so many jobs waiting that they are better sent elsewhere (ch. 12.1.3).

The manual says when, and not which jobs. Here it is the excess alone, the newest first; none that has not waited for a
while, so that a job which comes to the same queue again is left there; and none of a task that no other queue can take.
Build jobs and merge jobs stay where they are: they belong to a queue.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.states import JobState
from ..core.tunables import Numbers, tunable
from ..plugins.manager import Plugins
from ..plugins.questions import read_question
from ..sql import jobs, tasks
from ..sql.tables import jobs as table
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
HOLD_MINUTES = tunable(
    APP,
    COMPONENT,
    "FAST_REBRO_HOLD_MINUTES",
    60.0,
    unit="minutes",
    source="our choice: several rounds of everybody who could take it",
    help="that a job is left at a queue before it is taken back",
)
ASKED_TASKS = tunable(
    APP,
    COMPONENT,
    "FAST_REBRO_ASKED_TASKS",
    50,
    unit="tasks",
    source="our choice: a question takes up to 50 ms",
    help="of a queue, those with most waiting jobs, of which the job broker is asked whether others can take them",
    least=1,
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
    n_excess: int  #: so many fewer, and it would not be overfull

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
        allowed = max(least, numbers(NQNR_RATIO) * n_running, numbers(NQUEUE_FRACTION) * everywhere[gshare])
        if n_queued > allowed:
            excess = n_queued - int(allowed)
            found.append(Overfull(queue, gshare, n_queued, n_running, everywhere[gshare], excess))
    return found


def excess_jobs(
    tx: sa.Connection, plugins: Plugins, crowd: Overfull, numbers: Numbers, now: datetime
) -> Sequence[sa.ColumnElement[bool]] | None:
    """The conditions of the jobs that are taken back from an overfull queue; None when it is none."""
    there = [
        table.c.status.in_(QUEUED),
        table.c.queue == crowd.queue,
        table.c.gshare == crowd.gshare,
        table.c.kind == "run",
    ]
    of_task = jobs.tasks_of(tx, *there, limit=numbers(ASKED_TASKS))
    movable = [jeditaskid for jeditaskid in of_task if _fits_elsewhere(tx, plugins, jeditaskid, crowd.queue, now)]
    there.append(table.c.jeditaskid.in_(movable))
    first = jobs.newest(tx, *there, n=crowd.n_excess) if movable else None
    waited = table.c.created_at < now - timedelta(minutes=numbers(HOLD_MINUTES))
    return None if first is None else [*there, table.c.pandaid >= first, waited]


def _fits_elsewhere(tx: sa.Connection, plugins: Plugins, jeditaskid: int, queue: str, now: datetime) -> bool:
    """Whether the job broker would choose a queue for a task if this one were not there."""
    question = read_question(tx, tasks.get_task(tx, jeditaskid), now=now)
    others = [one for one in question.queues if one.queue != queue]
    return bool(replace(question, queues=others).choose(plugins).chosen)
