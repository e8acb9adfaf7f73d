"""Closer: closes output datasets of tasks whose jobs are over, and completes tasks that were overlooked.

Manual ch. 7.2.3, Closer and Finisher. The adder completes tasks right after it booked their last job; if it dies in
between, this chore does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.states import OutputDatasetState, TaskState
from ...sql import completion, datasets
from .. import booking
from ..context import Context

ACTOR = "closer"
PAGE = 100
PAGES = 50
#: States in which no more jobs are generated.
OVER = (
    TaskState.PREPARED,
    TaskState.DONE,
    TaskState.FINISHED,
    TaskState.FAILED,
    TaskState.ABORTED,
    TaskState.TOBROKEN,
    TaskState.BROKEN,
)
OPEN = (OutputDatasetState.DEFINED, OutputDatasetState.READY, OutputDatasetState.RUNNING)


@dataclass
class Closed:
    """What a run of the closer did."""

    datasets_closed: int = 0
    tasks_completed: int = 0


class Closer:
    """Says of outputs and tasks that nothing more will come."""

    name = ACTOR

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Closed:
        """Complete what was overlooked, then close datasets."""
        with self.context.reading() as tx:
            overlooked = completion.overlooked(tx, limit=PAGE)
        report = Closed(tasks_completed=booking.complete_tasks(self.context, overlooked, actor=ACTOR))
        after = 0
        for _ in range(PAGES):
            with self.context.begin() as tx:
                tasks = datasets.tasks_to_close(tx, OVER, OPEN, after=after, limit=PAGE)
                for jeditaskid in tasks:
                    report.datasets_closed += datasets.move_outputs(
                        tx, jeditaskid, OPEN, OutputDatasetState.PREPARED, now=self.context.clock()
                    )
            if len(tasks) < PAGE:
                break
            after = tasks[-1]
        return report


def build(context: Context, arguments: Sequence[object] = ()) -> Closer:
    """The chore."""
    return Closer(context)
