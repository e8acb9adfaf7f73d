"""The heartbeat: keeps the lease on a job alive, and brings the server's commands."""

from __future__ import annotations

import logging
import queue
from dataclasses import dataclass
from typing import Any

from ..core.backoff import Backoff
from .component import Component
from .errors import Refused, ServerAway
from .job import Job
from .report import Reporter, lease_patience
from .slot import Slot

log = logging.getLogger(__name__)

#: The time between beats while somebody looks at the job's output, so that a line is seen within 5 s.
WATCHED_SECONDS = 2.0
#: However often the server rings, beats are so far apart.
SHORTEST_SECONDS = 1.0


@dataclass(frozen=True)
class Ring:
    """The server has something to say about a job."""

    job: Job


def usual_seconds(slot: Slot, job: Job) -> float:
    """Seconds between beats while nobody looks: the option, else the job's word, at most a third of the lease."""
    wanted = slot.options.heartbeat_seconds or job.spec.heartbeat_seconds or job.lease.seconds / 3
    return float(min(wanted, job.lease.seconds / 3))


class Heartbeat(Component):
    """Post a job to begin, the same job again or a ring for it to beat at once, None to end."""

    def __init__(self, events: queue.SimpleQueue[Any], slot: Slot, reporter: Reporter) -> None:
        super().__init__(events)
        self._slot = slot
        self._reporter = reporter
        self._job: Job | None = None
        self._due_at = 0.0
        self._tried_at = float("-inf")
        self._backoff = Backoff(0.5, 0.5)

    def handle(self, message: Job | Ring | None) -> None:
        if isinstance(message, Ring):
            if message.job is self._job:  # it may come late, after the next job
                at_once = max(self._slot.clock(), self._tried_at + SHORTEST_SECONDS)
                self._due_at = min(self._due_at, at_once)
            return
        known = self._job is message
        self._job = message
        if message is not None:
            cap_seconds = min(30.0, self._period(message) / 2)
            self._backoff = Backoff(min(1.0, cap_seconds), cap_seconds)
            self._due_at = self._slot.clock() + (0.0 if known else self._period(message))

    def seconds_to_tick(self) -> float | None:
        return None if self._job is None else max(0.0, self._due_at - self._slot.clock())

    def tick(self) -> None:
        job = self._job
        if job is None or job.lost or job.reported:
            self._job = None
            return
        self._tried_at = self._slot.clock()
        try:
            self._reporter.heartbeat(job, lease_patience(job, tries=1))
            self._due_at = self._slot.clock() + self._period(job)
            self._backoff.reset()
        except ServerAway as error:
            self._due_at = self._slot.clock() + self._backoff.next_seconds()
            log.warning("heartbeat did not arrive", extra={"event": "heartbeat", "problem": str(error), **job.label})
        except Refused as error:
            self._due_at = self._slot.clock() + self._period(job)
            log.warning("heartbeat refused", extra={"event": "heartbeat", "problem": str(error), **job.label})

    def _period(self, job: Job) -> float:
        usual = usual_seconds(self._slot, job)
        return min(usual, WATCHED_SECONDS) if job.is_watched else usual
