"""How full a queue is, for the watchdogs that look for full and for empty ones."""

from __future__ import annotations

from ...core.gates import Refusal
from ...core.states import LEASED, QUEUED
from ...core.tunables import Numbers, tunable
from ..contracts import QueueView

BUSY_QUEUED = tunable(
    "jedi",
    "task_withholder",
    "BUSY_QUEUED",
    20,
    unit="jobs",
    source="our choice: manual ch. 21.1.2 does not say what too busy is",
    help="A queue with no more jobs waiting than this is never too busy.",
)
BUSY_RATIO = tunable(
    "jedi",
    "task_withholder",
    "BUSY_RATIO",
    2.0,
    unit="waiting jobs for each running one",
    source="our choice, in the form of the limits of manual ch. 12.1: max(limit, 2 x running)",
    help="A queue with more jobs waiting for each running one is too busy.",
)
EMPTY_QUEUED = tunable(
    "jedi",
    "queue_filler",
    "EMPTY_QUEUED",
    5,
    unit="jobs",
    source="our choice: manual ch. 21.1.3 does not say what empty is",
    help="A queue with fewer jobs waiting than this is empty.",
)
EMPTY_RATIO = tunable(
    "jedi",
    "queue_filler",
    "EMPTY_RATIO",
    0.1,
    unit="waiting jobs for each running one",
    source="our choice: what waits would be gone within a tenth of a job's time",
    help="A queue with fewer jobs waiting for each running one is empty.",
)


def n_waiting(queue: QueueView) -> int:
    """Jobs that no pilot has taken yet."""
    return sum(queue.jobs.get(state, 0) for state in QUEUED)


def n_running(queue: QueueView) -> int:
    """Jobs that pilots have."""
    return sum(queue.jobs.get(state, 0) for state in LEASED)


def is_open(queue: QueueView) -> bool:
    """Whether the queue takes jobs at all."""
    return queue.status == "online" and queue.state == "ACTIVE"


def closed(queue: QueueView, numbers: Numbers) -> Refusal | None:
    """Why a queue is hopeless for now: it takes no jobs, or has too many waiting. None: it is not."""
    if not is_open(queue):
        status = queue.status if queue.state == "ACTIVE" else queue.state
        return Refusal(f"{queue.queue} is {status}: set it online", float("inf"))
    limit = max(numbers(BUSY_QUEUED), numbers(BUSY_RATIO) * n_running(queue))
    surplus = n_waiting(queue) - limit
    if surplus <= 0:
        return None
    return Refusal(f"{queue.queue} has {n_waiting(queue)} jobs waiting: {limit:g} are not too many", surplus)


def is_empty(queue: QueueView, numbers: Numbers) -> bool:
    """Whether a queue takes jobs and has next to none waiting."""
    limit = max(numbers(EMPTY_QUEUED), numbers(EMPTY_RATIO) * n_running(queue))
    return is_open(queue) and n_waiting(queue) < limit
