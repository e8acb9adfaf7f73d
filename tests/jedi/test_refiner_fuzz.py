"""What the server has taken, the Task Refiner can read."""

from __future__ import annotations

from typing import Any

from fuzzing import altered, examples
from hypothesis import assume, given

from bamboo.core.errors import Invalid
from bamboo.core.task_parameters import TaskParameters
from bamboo.jedi.agents import TaskRefiner
from bamboo.jedi.task_agent import Round
from bamboo.tests.jedi.rounds import Jedi
from bamboo.tests.server.test_task_parameters_fuzz import SOURCES


def test_parameters_that_were_taken_can_be_refined(jedi: Jedi) -> None:
    jedi.queue("LOCAL")

    @examples(60)
    @given(raw=altered(SOURCES))
    def hold(raw: dict[str, Any]) -> None:
        try:
            TaskParameters.parse(raw)
        except Invalid:
            assume(False)
        jedi.submit_raw(raw)
        assert jedi.run(TaskRefiner) == [Round(done=1)]
        assert jedi.task().status in ("defined", "broken")

    hold()
