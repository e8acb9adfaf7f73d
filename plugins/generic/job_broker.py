"""Chooses queues for the jobs of a task by what the queues allow and how busy they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from ...core.gates import Gate, Refusal, pass_through
from ...core.states import LEASED, JobState
from ..choices import choice_of
from ..contracts import Choice, QueueView, TaskView
from ..grid import Grid
from ..hookspecs import hookimpl


@dataclass(frozen=True)
class Edit(Refusal):
    """A refusal with what could be set at the queue, by the keys of its document."""

    edits: Mapping[str, Any] = field(default_factory=dict)


def _named(queue: QueueView, names: Sequence[str]) -> bool:
    return any(fnmatchcase(word, name) for name in names for word in (queue.queue, queue.site))


def _asked_for(task: TaskView, queue: QueueView) -> Refusal | None:
    pinned = task.named_sites
    return None if not pinned or _named(queue, pinned) else Refusal(f"name it or its site beside {', '.join(pinned)}")


def _not_excluded(task: TaskView, queue: QueueView) -> Refusal | None:
    return Refusal("exclude it no more") if _named(queue, task.split_rule.get("excludedSite") or ()) else None


def _active(task: TaskView, queue: QueueView) -> Refusal | None:
    return None if queue.state == "ACTIVE" else Edit(f"set its state from {queue.state} to ACTIVE", edits=_ACTIVE)


def _online(task: TaskView, queue: QueueView) -> Refusal | None:
    if queue.status == "online" or (queue.status == "test" and task.named_sites):
        return None
    return Edit(f"set its status from {queue.status} to online", edits=_ONLINE)


def _organisation(task: TaskView, queue: QueueView) -> Refusal | None:
    if queue.vo in (None, "", task.vo):
        return None
    return Edit(f"set its vo from {queue.vo} to {task.vo}", edits={"vo": task.vo})


def _at_least(
    limit: Callable[[QueueView], int], need: Callable[[TaskView], int], key: str, unit: str
) -> Callable[[TaskView, QueueView], Refusal | None]:
    """A limit of a queue, where 0 is none, and what a task needs of it."""

    def _check(task: TaskView, queue: QueueView) -> Refusal | None:
        has, wants = limit(queue), need(task)
        if not has or wants <= has:
            return None
        return Edit(f"raise its {key} from {has} to {wants} {unit}", wants - has, {key: wants})

    return _check


def _has_storage(task: TaskView, queue: QueueView) -> Refusal | None:
    if task.nucleus or queue.storage:
        return None
    return Refusal("set its storage to one that there is, or give the task a nucleus")


def with_known_storages(queues: Sequence[QueueView], grid: Grid) -> list[QueueView]:
    """The queues; those whose storage nobody has entered have none: their jobs could not leave their outputs anywhere.

    Where no storage at all is entered, pilots know them from elsewhere, and every name is as good as another.
    """
    known = grid.storages
    return [one if not known or one.storage in known else replace(one, storage=None) for one in queues]


_ACTIVE = {"state": "ACTIVE"}
_ONLINE = {"status": "online"}
GATES: tuple[Gate[TaskView, QueueView], ...] = (
    Gate("another queue was asked for", _asked_for, "prun --site, --includedSite"),
    Gate("excluded by the user", _not_excluded, "prun --excludedSite"),
    Gate("not active", _active),
    Gate("not online", _online, "manual ch. 12.1, step 2"),
    Gate("serves another organisation", _organisation),
    Gate("too few cores", _at_least(lambda q: q.core_count, lambda t: t.core_count, "corecount", "cores")),
    Gate("too little memory", _at_least(lambda q: q.max_rss_mb, lambda t: t.ram_count_mb, "maxrss", "MB")),
    Gate(
        "too little scratch disk", _at_least(lambda q: q.max_wdir_mb, lambda t: t.work_disk_count_mb, "maxwdir", "MB")
    ),
    Gate(
        "too short a time limit",
        _at_least(lambda q: q.max_time_seconds, lambda t: t.max_walltime_seconds, "maxtime", "seconds"),
    ),
    Gate("no storage for the outputs", _has_storage),
)


class GenericJobBroker:
    """Passes queues through the gates in order, then prefers those with the fewest waiting for each running job.

    Their weights are 1 where none waits, and the smaller the longer the queue.
    """

    @hookimpl
    def choose_queue(self, task: TaskView, queues: Sequence[QueueView], grid: Grid) -> Choice | None:
        passage = pass_through(GATES, task, with_known_storages(queues, grid), lambda queue: queue.queue)
        left = sorted(passage.left, key=lambda queue: (_crowding(queue), queue.queue))
        weights = {queue.queue: round(1 / (1 + _crowding(queue)), 6) for queue in left}
        return choice_of(passage, [queue.queue for queue in left], weights)


def _crowding(queue: QueueView) -> float:
    waiting = queue.jobs.get(JobState.ACTIVATED, 0) + queue.jobs.get(JobState.ASSIGNED, 0)
    running = sum(queue.jobs.get(state, 0) for state in LEASED)
    return waiting / (running + 1)
