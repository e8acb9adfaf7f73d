"""Build jobs that fail, that never run, and that are left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.sql import queues, tasks
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import on_both_databases
from bamboo.tests.jedi.test_side_jobs import BUILD, Played


@pytest.fixture
def played(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Played:
    return Played(engine, clock, tmp_path)


def set_queue(played: Played, queue: str, **changes: Any) -> None:
    with played.engine.begin() as tx:
        queues.set_queue(tx, queue, {"site": "S", "storage": "DISK", **changes}, now=played.clock())


def claim_at(played: Played, queue: str) -> list[Any]:
    answer = played.post("pilot/acquire_jobs", {"computing_element": queue, "prod_source_label": "user", "n_jobs": 100})
    return list(answer["data"]["jobs"]) if answer["success"] else []


def builds(played: Played) -> list[tuple[str, str]]:
    """Queue and state of the build jobs."""
    with played.engine.connect() as tx:
        rows = tx.execute(sa.select(t.jobs).where(t.jobs.c.kind == "build").order_by(t.jobs.c.pandaid))
        return [(row.queue, str(row.status)) for row in rows]


def finish_all(played: Played, n: int = 2) -> None:
    for _ in range(n):
        played.rounds()
        for job in played.claim():
            played.report(job)
    played.rounds()


@on_both_databases
def test_builds_that_no_pilot_takes_break_no_task(played: Played) -> None:
    task = played.submit(buildSpec=BUILD, maxAttempt=1)
    for _ in range(3):
        played.rounds()
        played.clock.advance(hours=49)
    played.rounds()
    assert builds(played) == [("Q", "closed")] * 3 + [("Q", "activated")]
    finish_all(played)
    assert played.status(task) == "done"


def test_a_build_that_ended_with_its_task_is_made_again_with_it(played: Played) -> None:
    task = played.submit(buildSpec=BUILD, maxAttempt=1)
    played.rounds()
    assert played.post("task/finish", {"task_id": task})["success"]
    played.rounds()
    assert (played.status(task), builds(played)) == ("failed", [("Q", "cancelled")])
    assert played.post("task/retry", {"task_id": task})["success"]
    finish_all(played)
    assert played.status(task) == "done"


@on_both_databases
def test_a_queue_where_builds_fail_breaks_no_task_that_is_built_elsewhere(played: Played) -> None:
    """It waits for the queue that has the library, and says so."""
    set_queue(played, "R")
    task = played.submit(buildSpec=BUILD)
    for _ in range(2):
        played.rounds()
        (build,) = claim_at(played, "R")
        played.report(build, "failed")
    (build,) = played.claim()
    played.report(build)
    played.rounds()
    done, *others = played.claim()
    set_queue(played, "Q", status="offline")
    played.report(done)
    for job in others:
        played.report(job, "failed")
    played.rounds(4)
    assert played.status(task) == "pending"
    with played.engine.connect() as tx:
        told = tasks.get_task(tx, task).error_dialog
    assert told.startswith("no queue fits: not online (1 queues, such as Q")
    assert "the build failed 2 times (1 queues, such as R; to pass: let the task use Q, where it was built)" in told
    set_queue(played, "Q", status="online")
    played.clock.advance(hours=1)
    finish_all(played, 1)
    assert played.status(task) == "done"


@on_both_databases
def test_builds_that_are_left_over_end_with_their_task(played: Played) -> None:
    set_queue(played, "R")
    task = played.submit(buildSpec=BUILD)
    finish_all(played)
    assert played.status(task) == "done"
    assert builds(played) == [("Q", "finished"), ("R", "closed")]
