"""Tasks for which a percentage of their inputs is enough (`goal`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState, TaskState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, PostProcessor, TaskEnder, TaskRefiner, WatchDog
from bamboo.plugins.contracts import Tally
from bamboo.plugins.generic.post_processor import GenericPostProcessor
from bamboo.sql import tasks
from bamboo.tests.jedi.rounds import Jedi, on_both_databases
from bamboo.tests.jedi.test_side_jobs import MERGE, Played
from bamboo.tests.plugins.test_watchdog_rules import task

J = JobState


def running(jedi: Jedi, n_files: int, *, goal: float) -> Jedi:
    jedi.queue()
    jedi.store("user.alice.in", *(f"f{n}" for n in range(n_files)))
    jedi.submit(nFilesPerJob=1, goal=goal, skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    return jedi


def finish(jedi: Jedi, n: int) -> None:
    jedi.book(jedi.move(jedi.claim(n), J.RUNNING, J.HOLDING))


@pytest.mark.parametrize(
    ("goal", "n_finished", "ends"),
    [
        (None, 9, TaskState.FINISHED),
        (90, 9, TaskState.DONE),  # 9 x 100 >= 90 x 10
        (90.5, 9, TaskState.FINISHED),
        (10, 0, TaskState.FAILED),
        (10, 10, TaskState.DONE),
    ],
)
def test_a_task_is_done_when_its_goal_is_reached(goal: float | None, n_finished: int, ends: TaskState) -> None:
    view = task(1, split_rule={"goal": goal} if goal else {})
    tally = Tally(n_files=10, n_finished=n_finished, n_failed=10 - n_finished)
    verdict = GenericPostProcessor().post_process(view, tally)
    assert verdict is not None
    assert verdict.state is ends


@on_both_databases
def test_no_more_jobs_are_made_and_the_last_ones_are_awaited(jedi: Jedi, clock: ManualClock) -> None:
    """Four of five inputs are 80 percent; the fifth runs already, and the sixth has no job any more."""
    running(jedi, 5, goal=60)
    finish(jedi, 2)
    jedi.run(WatchDog)
    assert jedi.task().status == "running"  # 2 of 5 are 40 percent
    (going,) = jedi.move(jedi.claim(1), J.RUNNING)
    finish(jedi, 1)
    clock.advance(seconds=10)
    assert jedi.run(WatchDog)[0].passed == 1
    assert (jedi.task().status, jedi.last_line().why) == ("passed", "3 of 5 inputs are processed, which is enough")
    (last,) = jedi.move(jedi.claim(1), J.RUNNING)
    jedi.book(jedi.move([last], J.HOLDING), J.FAILED)  # its input is given back, but no job is made of it
    jedi.run(JobGenerator, TaskEnder)
    assert len(jedi.jobs()) == 5
    assert jedi.task().status == "passed"
    jedi.book(jedi.move([going], J.HOLDING))
    clock.advance(seconds=2)
    jedi.run(TaskEnder, PostProcessor)
    assert jedi.story()[-4:] == ["running", "passed", "prepared", "done"]
    assert jedi.last_line().why == "4 of 5 inputs were processed: the goal of 60 percent is reached"
    assert jedi.miscounted() == {}


@on_both_databases
def test_a_task_that_is_held_up_has_reached_its_goal_all_the_same(jedi: Jedi, clock: ManualClock) -> None:
    running(jedi, 2, goal=50)
    finish(jedi, 1)
    jedi.book(jedi.move(jedi.claim(1), J.RUNNING, J.HOLDING), J.FAILED)
    jedi.queue(status="offline")
    jedi.run(JobGenerator)
    assert jedi.task().status == "pending"
    jedi.run(WatchDog, TaskEnder, PostProcessor)
    assert jedi.story()[-4:] == ["running", "passed", "prepared", "done"]


def test_a_task_without_a_goal_goes_on_to_the_end(jedi: Jedi) -> None:
    running(jedi, 2, goal=100)
    finish(jedi, 1)
    assert jedi.run(WatchDog)[0].passed == 0
    assert jedi.task().status == "running"


@on_both_databases
def test_a_task_that_has_reached_its_goal_merges_what_is_there(
    engine: sa.Engine, clock: ManualClock, tmp_path: Path
) -> None:
    """No job is made of the input that was given back, and the group is not to wait for it."""
    played = Played(engine, clock, tmp_path)
    number = played.submit(mergeOutput=True, mergeSpec=MERGE, goal=60)
    played.rounds()
    first, second, third = played.claim()
    played.report(first)
    played.report(second)
    played.rounds(1)
    with played.engine.begin() as tx:  # as if an earlier merge had done it
        tasks.move_task(tx, tasks.ref(tasks.get_task(tx, number)), TaskState.PASSED, actor="", why="", now=clock())
    played.report(third, "failed")
    played.rounds(4)
    (merge,) = played.claim()
    assert merge["inFiles"].count(",") == 1
    played.report(merge)
    played.rounds(4)
    assert played.status(number) == "done"
