"""Noticing that a task has nothing left to do."""

from __future__ import annotations

from typing import Any

import pytest
from world import World

from bamboo.core.states import JobState, TaskState
from bamboo.sql import completion, datasets, task_queries, tasks

S = TaskState


def look(world: World) -> tuple[list[int], list[int]]:
    """What is found to be overlooked, and which of it is moved on."""
    with world.engine.begin() as tx:
        found = completion.overlooked(tx, limit=9)
        moved = completion.complete_tasks(tx, [world.jeditaskid], actor="test", now=world.clock())
    return found, moved


def all_booked(world: World) -> World:
    """A world of two inputs, one processed and one given up."""
    done, failed = world.move(world.start(2).run(2), JobState.HOLDING)
    world.book([done])
    give_up = {file.fileid: False for file in world.inputs().values()}
    world.book([failed], JobState.FAILED, give_back=give_up)
    return world


def test_a_task_whose_inputs_are_accounted_for_goes_on(world: World) -> None:
    task = all_booked(world).jeditaskid
    assert look(world) == ([task], [task])
    assert world.task_status() == "prepared"
    with world.engine.connect() as tx:
        assert task_queries.events_of(tx, task)[-1].why == "every input is accounted for"
    assert look(world) == ([], [])


def test_a_task_with_work_left_stays(world: World) -> None:
    (done,) = world.move(world.start(2).run(1), JobState.HOLDING)
    world.book([done])
    assert look(world) == ([], [])
    assert world.task_status() == "running"


def test_missing_inputs_are_not_waited_for(world: World) -> None:
    (done,) = world.move(world.start(2).run(1), JobState.HOLDING)
    world.book([done])
    with world.engine.begin() as tx:
        datasets.update_dataset(tx, world.datasetids["input"], n_files_missing=1)
    assert look(world)[1] == [world.jeditaskid]


def test_a_task_without_inputs_is_never_complete(world: World) -> None:
    world.start(0)
    assert look(world) == ([], [])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("columns", "goes_on"),
    [
        ({"status": S.THROTTLED, "old_status": S.RUNNING}, True),
        ({"status": S.PENDING, "old_status": S.RUNNING}, True),
        ({"status": S.PENDING, "old_status": S.DEFINED}, False),
        ({"status": S.PAUSED, "old_status": S.RUNNING}, False),
        ({"status": S.FINISHING}, False),
        ({"status": S.ABORTING}, False),
        ({"status": S.DONE}, False),
    ],
)
def test_only_tasks_at_work_go_on(world: World, columns: dict[str, Any], goes_on: bool) -> None:
    with all_booked(world).engine.begin() as tx:
        tasks.update_task(tx, world.jeditaskid, **columns)
    assert look(world)[1] == ([world.jeditaskid] if goes_on else [])
    assert world.task_status() == ("prepared" if goes_on else columns["status"])
