"""Says how a task ended, from the count of its inputs."""

from __future__ import annotations

from ...core.counting import count_text
from ...core.states import TaskState
from ..contracts import Tally, TaskView, Verdict
from ..hookspecs import hookimpl


class GenericPostProcessor:
    """`done` when every input was processed, `failed` when none was, `finished` otherwise (manual ch. 2.4).

    An input that was processed in part has brought outputs: its task is `finished`.

    A task with a `goal` is `done` when so many percent of its inputs were processed: more was not asked for.
    """

    @hookimpl
    def post_process(self, task: TaskView, tally: Tally) -> Verdict | None:
        were = "was" if tally.n_files == 1 else "were"
        counted = f"{tally.n_finished} of {count_text(tally.n_files, 'input')} {were} processed"
        if tally.n_files and tally.n_finished == tally.n_files:
            return Verdict(TaskState.DONE, counted)
        goal = task.split_rule.get("goal")
        if goal and tally.n_finished and tally.n_finished * 100 >= goal * tally.n_files:
            return Verdict(TaskState.DONE, f"{counted}: the goal of {goal:g} percent is reached")
        if tally.n_partial:
            counted += f", {tally.n_partial} in part"
        if tally.n_finished == 0 and not tally.n_partial:
            return Verdict(TaskState.FAILED, counted)
        return Verdict(TaskState.FINISHED, f"{counted}, {tally.n_failed} failed")
