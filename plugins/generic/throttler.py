"""Keeps tasks from filling the database with jobs that no queue will take soon."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.states import QUEUED
from ...core.tunables import tunable
from ..contracts import PluginContext, QueueView, TaskView, Throttle
from ..hookspecs import hookimpl

MAX_QUEUED_JOBS_PER_QUEUE = tunable(
    "jedi",
    "jobthrottle",
    "MAX_QUEUED_JOBS_PER_QUEUE",
    0,
    unit="jobs",
    source="our choice: manual ch. 10 has such limits in the database, so that nobody has to edit files",
    help="Queued jobs for each online queue; 0: as [jobgen] max_queued_jobs_per_queue of the file says.",
)


class GenericThrottler:
    """Allows so many queued jobs for each online queue: the setting in the database, or else that of the file."""

    def __init__(self, context: PluginContext) -> None:
        self._numbers = context.numbers
        self._limit = context.settings.jobgen.max_queued_jobs_per_queue

    @hookimpl
    def throttle(self, task: TaskView, queues: Sequence[QueueView]) -> Throttle | None:
        limit = self._numbers(task.vo)(MAX_QUEUED_JOBS_PER_QUEUE) or self._limit
        online = [queue for queue in queues if queue.status == "online"]
        queued = sum(queue.jobs.get(state, 0) for queue in queues for state in QUEUED)
        room = limit * max(1, len(online)) - queued
        return Throttle(max(0, room), f"{queued} jobs are queued in {len(online)} online queues of {limit} each")
