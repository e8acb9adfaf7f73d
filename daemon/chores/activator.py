"""Activator: offers jobs to pilots whose inputs need no motion any more (manual ch. 7.2.3).

The Job Generator enters jobs as `activated` when nothing has to move, so this is the safety net for jobs that were
left behind on their way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ...core.states import JobState
from ...sql import jobs
from ...sql.accounting import inputs_without_url
from ...sql.tables import jobs as table
from ..context import Context

ACTOR = "activator"
PAGE = 1000
PAGES = 50
#: Jobs that changed more recently are still in the hands of whoever sets them up.
SETTLED = timedelta(minutes=1)
#: How a job gets from each state to `activated`.
STEPS = {
    JobState.PENDING: (JobState.DEFINED, JobState.ACTIVATED),
    JobState.DEFINED: (JobState.ACTIVATED,),
    JobState.ASSIGNED: (JobState.ACTIVATED,),
}


@dataclass
class Activated:
    """What a run of the activator did."""

    activated: int = 0


class Activator:
    """Moves jobs on to `activated` whose inputs are all where they can be read."""

    name = ACTOR

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Activated:
        """Activate page after page, in the order of the jobs' ids."""
        report = Activated()
        for status in STEPS:
            after = 0
            for _ in range(PAGES):
                held = self._page(status, after, report)
                if len(held) < PAGE:
                    break
                after = held[-1].pandaid
        return report

    def _page(self, status: JobState, after: int, report: Activated) -> list[jobs.JobRef]:
        now = self.context.clock()
        with self.context.begin() as tx:
            conditions = (table.c.status == status, table.c.state_changed_at < now - SETTLED, ~inputs_without_url())
            held = jobs.refs(tx, *conditions, after=after, limit=PAGE, lock=True)
            moved = held
            for step in STEPS[status]:
                moved = jobs.move_jobs(tx, moved, step, actor=ACTOR, why="no input has to be moved", now=now)
        report.activated += len(moved)
        return held


def build(context: Context, arguments: Sequence[object] = ()) -> Activator:
    """The chore."""
    return Activator(context)
