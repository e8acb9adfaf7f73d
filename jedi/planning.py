"""What an edit of queues would do to the work that is there: asked of the job broker that decides, on a changed copy.

Pure functions of two snapshots. A queue is shown to the broker alone, before and after the edit, so that what is told
is whether work fits at it, and not whether another queue was better that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..plugins.contracts import Choice, QueueView, TaskView

#: Asks the job broker that is responsible for a task.
Ask = Callable[[TaskView, Sequence[QueueView]], Choice]


@dataclass(frozen=True)
class QueuedJobs:
    """Jobs of a task that wait at a queue and ask for the same."""

    queue: str
    n_jobs: int
    example: int  #: the id of one of them
    core_count: int
    ram_count_mb: int
    max_walltime_seconds: int


@dataclass(frozen=True)
class OpenTask:
    """A task that has jobs waiting, or inputs that will become jobs."""

    task: TaskView
    queued: Sequence[QueuedJobs] = ()
    n_files_left: int = 0


@dataclass(frozen=True)
class Effect:
    """What an edit of one queue does to one task: `why` is the gate's reason where something fits no more."""

    queue: str
    jeditaskid: int
    n_jobs: int = 0
    example: int | None = None
    n_files_left: int = 0
    why: str = ""


@dataclass
class Effects:
    """What an edit would do."""

    jobs_out: list[Effect] = field(default_factory=list)  #: waiting jobs that would not fit at their queue any more
    tasks_out: list[Effect] = field(default_factory=list)  #: tasks that would not be brokered to the queue any more
    tasks_in: list[Effect] = field(default_factory=list)  #: tasks that would be
    stranded: list[Effect] = field(default_factory=list)  #: tasks for which no queue at all would be left


def effects(
    ask: Ask, work: Iterable[OpenTask], before: Mapping[str, QueueView], after: Mapping[str, QueueView]
) -> Effects:
    """Compare what fits before and after an edit, at the queues that it changes."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    found = Effects()
    for one in work:
        lost = False
        for name in changed:
            was, _ = _fits(ask, one.task, before.get(name))
            fits, why = _fits(ask, one.task, after.get(name))
            effect = Effect(name, one.task.jeditaskid, n_files_left=one.n_files_left, why=why)
            if one.n_files_left:  # else it makes no more jobs, and only those that wait are told of
                lost = lost or (was and not fits)
                found.tasks_out += [effect] if was and not fits else []
                found.tasks_in += [effect] if fits and not was else []
            found.jobs_out += _jobs_out(ask, one, before.get(name), after.get(name))
        if lost and not ask(one.task, list(after.values())).chosen:
            found.stranded.append(Effect("", one.task.jeditaskid, n_files_left=one.n_files_left))
    return found


def _jobs_out(ask: Ask, one: OpenTask, before: QueueView | None, after: QueueView | None) -> list[Effect]:
    """The waiting jobs at a queue for which there was room, and is no more; each asks for what its attempt asks for."""
    out = []
    for jobs in one.queued:
        if before is None or jobs.queue != before.queue:
            continue
        task = replace(
            one.task,
            core_count=jobs.core_count,
            ram_count_mb=jobs.ram_count_mb,
            max_walltime_seconds=jobs.max_walltime_seconds,
        )
        was, _ = _fits(ask, task, before)
        fits, why = _fits(ask, task, after)
        if was and not fits:
            out.append(Effect(jobs.queue, task.jeditaskid, jobs.n_jobs, jobs.example, one.n_files_left, why))
    return out


def _fits(ask: Ask, task: TaskView, queue: QueueView | None) -> tuple[bool, str]:
    """Whether the broker takes a queue, and the first reason why not."""
    if queue is None:
        return False, "there is no such queue"
    choice = ask(task, [queue])
    reason = next((reason for reason, names in choice.rejected.items() if names), "")
    change = choice.changes.get(reason, ("", ""))[1]
    return bool(choice.chosen), f"{reason}; to pass: {change}" if change else reason
