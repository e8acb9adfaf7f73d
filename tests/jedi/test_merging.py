"""Merge jobs and the run jobs behind them: every input is in one merged output, whatever ends when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.job_errors import NOT_MERGED
from bamboo.core.states import JobState
from bamboo.jedi.agents import job_merger
from bamboo.sql import accounting, jobs, queues, task_queries
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import on_both_databases
from bamboo.tests.jedi.test_side_jobs import BUILD, MERGE, Played


@pytest.fixture
def played(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Played:
    return Played(engine, clock, tmp_path)


def being_merged(played: Played, **changes: Any) -> tuple[int, Any]:
    """A task whose run jobs are all done, and its merge job, which a pilot has taken."""
    task = played.submit(mergeOutput=True, mergeSpec=MERGE, **changes)
    played.rounds()
    for job in played.claim():
        played.report(job)
    played.rounds()
    (merge,) = played.claim()
    beat(played, merge)
    return task, merge


def claim_at(played: Played, queue: str) -> list[Any]:
    answer = played.post("pilot/acquire_jobs", {"computing_element": queue, "prod_source_label": "user", "n_jobs": 100})
    return list(answer["data"]["jobs"]) if answer["success"] else []


def beat(played: Played, job: Any) -> Any:
    body = {"job_id": job["PandaID"], "job_status": "running", "attempt_nr": job["attemptNr"]}
    answer = played.post("pilot/update_job", body)
    assert answer["success"], answer
    return answer


def run(played: Played, *names: str) -> None:
    by_name = {service.name: service for service in played.agents}
    for name in names:
        by_name[name].run_once()


def states(played: Played, kind: str) -> list[str]:
    with played.engine.connect() as tx:
        statement = sa.select(t.jobs.c.status).where(t.jobs.c.kind == kind).order_by(t.jobs.c.pandaid)
        return [str(status) for status in tx.scalars(statement)]


def failed_attempts(played: Played) -> int:
    with played.engine.connect() as tx:
        return int(tx.scalar(sa.select(sa.func.sum(t.files.c.failed_attempts))) or 0)


@on_both_databases
@pytest.mark.parametrize(("verb", "end"), [("finish", "done"), ("kill", "aborted")])
def test_a_merge_that_is_done_before_its_pilot_hears_of_the_end_counts(played: Played, verb: str, end: str) -> None:
    """Else its inputs are free for other jobs, though they are in a merged output already."""
    task, merge = being_merged(played)
    assert played.post(f"task/{verb}", {"task_id": task})["success"]
    run(played, "task_commando", "watch_dog")
    assert states(played, "run") == ["merging"] * 3
    played.report(merge)
    played.rounds()
    assert played.status(task) == end
    assert (states(played, "run"), states(played, "merge")) == (["finished"] * 3, ["finished"])
    assert len(played.lfns("user.alice.t_x")) == 1


@on_both_databases
@pytest.mark.parametrize(("verb", "end"), [("finish", "failed"), ("kill", "aborted")])
def test_run_jobs_end_with_the_merge_job_that_was_told_to_stop(played: Played, verb: str, end: str) -> None:
    task, merge = being_merged(played)
    assert played.post(f"task/{verb}", {"task_id": task})["success"]
    run(played, "task_commando", "watch_dog")
    assert beat(played, merge)["command"] == "tobekilled"
    played.report(merge, "failed")
    played.rounds(4)
    assert played.status(task) == end
    assert (states(played, "run"), states(played, "merge")) == (["cancelled"] * 3, ["cancelled"])
    assert failed_attempts(played) == 0


@on_both_databases
def test_what_is_merged_of_jobs_that_have_ended_does_not_count(played: Played) -> None:
    """The input of a run job that was ended is another job's by then."""
    task, merge = being_merged(played)
    with played.engine.begin() as tx:
        (gone, *_) = jobs.of_task(tx, task, [JobState.MERGING], limit=10)
        accounting.book(tx, [accounting.Ending(gone, JobState.CANCELLED, "w")], actor="test", now=played.clock())
    played.report(merge)
    played.rounds()
    assert states(played, "merge") == ["cancelled"]
    for _ in range(2):  # the run job that is made anew, and the merge job of all
        for job in played.claim():
            played.report(job)
        played.rounds(4)
    assert played.status(task) == "done"
    assert len(played.lfns("user.alice.t_x")) == 1
    assert states(played, "run") == ["cancelled", "finished", "finished", "finished"]


def test_run_jobs_wait_as_long_as_their_merge_job_runs(played: Played) -> None:
    task, merge = being_merged(played)
    for _ in range(50 * 3):
        played.clock.advance(minutes=20)
        beat(played, merge)
    played.rounds(1, seconds=0)
    played.report(merge)
    played.rounds()
    assert played.status(task) == "done"
    assert states(played, "run") == ["finished"] * 3


def test_a_finished_job_waits_for_one_that_runs_for_days(played: Played) -> None:
    """Manual ch. 12.1.3 has no timeout for `merging`: what is done is not done again because others take long."""
    task = played.submit(nEvents=2, mergeOutput=True, mergeSpec=MERGE, maxAttempt=1)
    played.rounds()
    long, short = played.claim()
    beat(played, long)
    played.report(short)
    played.rounds()
    assert states(played, "run") == ["running", "merging"]
    for _ in range(50 * 3):
        played.clock.advance(minutes=20)
        beat(played, long)
    played.rounds(1, seconds=0)
    played.report(long)
    played.rounds()
    for merge in played.claim():
        played.report(merge)
    played.rounds()
    assert played.status(task) == "done"


def test_a_pause_costs_no_finished_job(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE, maxAttempt=1)
    played.rounds()
    for job in played.claim():
        played.report(job)
    assert played.post("task/pause", {"task_id": task})["success"]
    played.rounds(1)
    played.clock.advance(hours=49)
    played.rounds(1)
    assert states(played, "run") == ["merging"] * 3
    assert played.post("task/resume", {"task_id": task})["success"]
    played.rounds()
    assert states(played, "merge") == ["activated"]


@on_both_databases
def test_merge_jobs_that_no_pilot_takes_are_no_failed_merges(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE, maxAttempt=1)
    played.rounds()
    for job in played.claim():
        played.report(job)
    for _ in range(4):
        played.rounds()
        played.clock.advance(hours=49)
    played.rounds()
    assert states(played, "merge") == ["closed"] * 4 + ["activated"]
    (merge,) = played.claim()
    played.report(merge)
    played.rounds()
    assert played.status(task) == "done"


@on_both_databases
def test_failed_merges_are_told_where_their_run_jobs_are_looked_at(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE, maxAttempt=1, nEvents=2)
    played.rounds()
    for job in played.claim():
        played.report(job)
    for _ in range(3):
        played.rounds()
        (merge,) = played.claim()
        played.report(merge, "failed")
    played.rounds()
    assert played.status(task) == "failed"
    with played.engine.connect() as tx:
        groups = task_queries.error_groups(tx, task)
    assert [(group.kind, group.source, group.code, group.count) for group in groups] == [
        ("merge", "pilot", 1305, 3),
        ("run", NOT_MERGED.source, NOT_MERGED.code, 2),
    ]
    assert groups[1].diag == f"its outputs could not be merged, last by job {merge['PandaID']}"


def test_what_cannot_be_merged_at_one_queue_holds_up_no_other(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page was once filled with the jobs of the queue that takes nothing."""
    monkeypatch.setattr(job_merger, "PAGE", 3)
    with played.engine.begin() as tx:
        queues.set_queue(tx, "R", {"site": "S", "storage": "DISK"}, now=played.clock())
    played.submit(nEvents=6, mergeOutput=True, mergeSpec=MERGE)
    played.rounds()
    with played.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid > 3).values(queue="R"))
    for job in [*played.claim(), *claim_at(played, "R")]:
        played.report(job)
    with played.engine.begin() as tx:
        queues.set_queue(tx, "Q", {"status": "offline"}, now=played.clock())
    played.rounds()
    assert states(played, "merge") == ["activated"]
    assert len(claim_at(played, "R")) == 1


def test_what_needs_a_library_is_merged_after_a_day_where_there_is_one(played: Played) -> None:
    """Else it waits for ever for a queue that does not come back."""
    for queue in ("R", "NEVER"):
        with played.engine.begin() as tx:
            queues.set_queue(tx, queue, {"site": "S", "storage": "DISK"}, now=played.clock())
    played.submit(nEvents=2, mergeOutput=True, mergeSpec=MERGE, buildSpec=BUILD, maxAttempt=1)
    played.rounds()
    for build in [*played.claim(), *claim_at(played, "R")]:
        played.report(build)
    played.rounds()
    with played.engine.begin() as tx:
        tx.execute(sa.update(t.jobs).where(t.jobs.c.kind == "run").values(queue="Q"))
    for job in played.claim():
        played.report(job)
    played.rounds(1)
    with played.engine.begin() as tx:
        queues.set_queue(tx, "Q", {"status": "offline"}, now=played.clock())
    played.rounds()
    assert states(played, "merge") == []
    played.clock.advance(hours=25)
    played.rounds()
    (merge,) = claim_at(played, "R")
    assert ".lib.tgz" in merge["inFiles"]
