"""Entering jobs: with their inputs, all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.errors import Stale
from bamboo.core.states import JobState
from bamboo.sql import datasets, files, generation, job_queries
from bamboo.sql import tables as t
from bamboo.sql.generation import NewJob


def new_jobs(world: World, n: int) -> list[NewJob]:
    """Jobs over the next n inputs that are ready; nothing is entered."""
    with world.engine.begin() as tx:
        ready = files.ready(tx, world.datasetids["input"], limit=n)
    return [world._job(file, serial, {}) for serial, file in enumerate(ready, 1)]


def insert(world: World, new: Sequence[NewJob]) -> list[int]:
    with world.engine.begin() as tx:
        made = generation.insert_jobs(
            tx, world.jeditaskid, new, status=JobState.ACTIVATED, actor="test", why="w", now=world.clock()
        )
    return [job.pandaid for job in made]


def n_rows(world: World) -> list[int]:
    with world.engine.connect() as tx:
        return [
            int(tx.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
            for table in (t.jobs, t.job_params, t.job_files, t.job_events)
        ]


def test_jobs_come_with_their_files_and_a_first_line(world: World) -> None:
    first, second = insert(world.start(2), new_jobs(world, 2))
    with world.engine.connect() as tx:
        rows = job_queries.files_of(tx, first)
        assert job_queries.parameters_of(tx, [first, second]) == {first: "-x", second: "-x"}
        (line,) = job_queries.events_of(tx, second)
    assert [(row.type, row.lfn, row.status) for row in rows] == [
        ("input", "in.0", "running"),
        ("output", "output.1", "running"),
        ("log", "log.1", "running"),
    ]
    assert (line.old_status, line.new_status, line.attempt_nr) == (None, "activated", 1)
    assert [(file.status, file.pandaid, file.attempt_nr) for file in world.inputs().values()] == [
        ("running", first, 1),
        ("running", second, 1),
    ]
    with world.engine.connect() as tx:
        source, output, _ = datasets.of_task(tx, world.jeditaskid)
    assert (source.n_files, source.n_files_used, output.n_files) == (2, 2, 2)
    assert world.miscounted() == {}


def test_all_or_none(world: World) -> None:
    """Another one has taken an input: nothing is left of the whole page."""
    planned = new_jobs(world.start(3), 3)
    world.generate(1)
    before = n_rows(world)
    with pytest.raises(Stale, match="taken by somebody else"):
        insert(world, planned)
    assert n_rows(world) == before
    assert [file.status for file in world.inputs().values()] == ["running", "ready", "ready"]
    assert world.miscounted() == {}


def test_of_two_at_once_one_gets_the_inputs(world: World, at_once: Callable[..., Any]) -> None:
    planned = new_jobs(world.start(4), 4)

    def submit(number: int) -> int:
        try:
            return len(insert(world, planned))
        except Stale:
            return 0

    assert sorted(at_once(2, submit)) == [0, 4]
    assert len(world.jobs()) == 4
    assert world.miscounted() == {}


def test_attempts_of_an_input_grow(world: World) -> None:
    world.start(1)
    for attempt in (1, 2, 3):
        (held,) = world.move(world.run(1), JobState.HOLDING)
        assert world.jobs()[held.pandaid].attempt_nr == attempt
        assert world.inputs()["in.0"].attempt_nr == attempt
        world.book([held], JobState.FAILED, charged=True)


def test_jobs_without_inputs(world: World) -> None:
    (planned,) = new_jobs(world.start(1), 1)
    (pandaid,) = insert(world, [NewJob(planned.columns, "-y")])
    with world.engine.connect() as tx:
        assert job_queries.files_of(tx, pandaid) == []
