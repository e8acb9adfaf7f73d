"""Task Broker: chooses the storage for the outputs of a task (manual ch. 7.1.2)."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ...core.errors import Retriable
from ...core.states import TaskState
from ...plugins.questions import read_nucleus_question
from ...sql import decisions, tasks
from ...sql.engine import reading
from ...sql.tasks import TaskRef
from ..task_agent import TaskAgent


class TaskBroker(TaskAgent):
    """Assigns a nucleus to tasks that want their outputs in one place and leave open in which."""

    name = "task_broker"
    states = (TaskState.ASSIGNING,)

    def work(self, held: TaskRef, row: sa.Row[object]) -> datetime | None:
        with reading(self.context.engine) as tx:
            question = read_nucleus_question(tx, row, now=self.context.clock())
        choice = question.choose(self.context.plugins)
        now = self.context.clock()
        nucleus = choice.chosen[0] if choice.chosen else None
        with self.context.engine.begin() as tx:
            tasks.hold(tx, held)
            what = f"nucleus {nucleus}" if nucleus else "no nucleus"
            decisions.record(tx, actor=self.name, what=what, why=choice.why(), now=now, jeditaskid=held.jeditaskid)
            if nucleus:
                why = f"outputs go to {nucleus}"
                tasks.move_task(tx, held, TaskState.READY, actor=self.name, why=why, now=now, nucleus=nucleus)
        if nucleus is None:
            raise Retriable(
                "no storage can take the outputs", hint=f"`bamboo task why {held.jeditaskid}` has the reasons"
            )
        return None
