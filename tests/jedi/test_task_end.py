"""How tasks end: by themselves, by kill, by finish."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, PostProcessor, TaskEnder, TaskRefiner, WatchDog, watch_dog
from bamboo.jedi.task_agent import Round
from bamboo.sql import datasets
from bamboo.sql.jobs import JobRef
from bamboo.tests.jedi.rounds import Jedi, on_both_databases

J = JobState


def running(jedi: Jedi, n_files: int, **parameters: Any) -> Jedi:
    """A task with a queued job for each of its inputs."""
    jedi.queue()
    jedi.store("user.alice.in", *(f"f{n}" for n in range(n_files)))
    jedi.submit(nFilesPerJob=1, **parameters)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    return jedi


def over(jedi: Jedi, held: list[JobRef], to: JobState = J.FINISHED, **how: Any) -> None:
    jedi.book(jedi.move(held, J.HOLDING), to, **how)


def give_up(jedi: Jedi) -> dict[int, bool]:
    return {file.fileid: False for file in jedi.inputs().values()}


def states(jedi: Jedi) -> list[str]:
    return [job.status for job in jedi.jobs().values()]


@pytest.mark.parametrize(
    ("n_finished", "ends", "says"),
    [
        (3, "done", "3 of 3 inputs were processed"),
        (1, "finished", "1 of 3 inputs were processed, 2 failed"),
        (0, "failed", "0 of 3 inputs were processed"),
    ],
)
def test_a_task_ends_as_its_inputs_did(jedi: Jedi, n_finished: int, ends: str, says: str) -> None:
    running(jedi, 3)
    held = sorted(jedi.move(jedi.claim(3), J.RUNNING), key=lambda job: job.pandaid)
    over(jedi, held[:n_finished])
    over(jedi, held[n_finished:], J.FAILED, give_back=give_up(jedi))
    jedi.run(WatchDog)
    assert jedi.task().status == "prepared"
    assert jedi.run(PostProcessor) == [Round(done=1)]
    assert (jedi.task().status, jedi.task().ended_at) == (ends, jedi.clock())
    assert jedi.last_line().why == says
    assert jedi.dataset().status == ("done" if ends == "done" else "ready")
    assert jedi.dataset("output").status == "done"


@on_both_databases
def test_kill(jedi: Jedi, clock: ManualClock) -> None:
    """Queued jobs are cancelled at once, pilots are told, and the task waits for them."""
    running(jedi, 4)
    done, going, sent = sorted(jedi.claim(3), key=lambda job: job.pandaid)
    over(jedi, jedi.move([done], J.RUNNING))
    (going,) = jedi.move([going], J.RUNNING)
    assert jedi.command("kill").answer == "its jobs are being killed"
    assert jedi.run(TaskEnder) == [Round(done=1)]
    assert states(jedi) == ["finished", "running", "sent", "cancelled"]
    assert [job.command_to_pilot for job in jedi.jobs().values()] == [None, "tobekilled", "tobekilled", None]
    assert jedi.task().status == "aborting"
    assert jedi.run(TaskEnder) == [Round()]  # it looks again a little later
    over(jedi, [going, sent], J.CANCELLED)
    clock.advance(seconds=2)
    assert jedi.run(TaskEnder) == [Round(done=1)]
    assert (jedi.task().status, jedi.task().ended_at) == ("aborted", clock())
    assert [file.status for file in jedi.inputs().values()] == ["finished", "failed", "failed", "failed"]
    assert jedi.miscounted() == {}
    assert jedi.run(TaskEnder, JobGenerator, PostProcessor) == [Round(), Round(), Round()]


def test_a_job_that_starts_between_two_looks_is_told_too(jedi: Jedi, clock: ManualClock) -> None:
    running(jedi, 1)
    jedi.command("kill")
    jedi.claim(1)
    jedi.run(TaskEnder)
    assert [job.command_to_pilot for job in jedi.jobs().values()] == ["tobekilled"]


def test_many_jobs_are_killed_page_by_page(jedi: Jedi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_dog, "PAGE", 3)
    running(jedi, 10)
    jedi.command("kill")
    jedi.run(TaskEnder)
    assert states(jedi) == ["cancelled"] * 10
    assert jedi.task().status == "aborted"


def test_a_kill_after_a_finish_leaves_no_order_to_kill_jobs(jedi: Jedi) -> None:
    """The task may go on one day, and its jobs must not be killed then, nor its merging kept back."""
    running(jedi, 1)
    jedi.command("finish")
    jedi.command("kill")
    jedi.run(TaskEnder)
    assert (jedi.task().status, jedi.task().jobs_to_kill) == ("aborted", False)


def test_a_task_without_jobs_is_killed_in_one_round(jedi: Jedi) -> None:
    jedi.submit()
    jedi.command("kill")
    jedi.run(TaskEnder)
    assert jedi.story() == ["registered", "aborting", "aborted"]


@on_both_databases
def test_finish_softly(jedi: Jedi, clock: ManualClock) -> None:
    """What has a job may end, what has none is given up."""
    running(jedi, 2)
    jedi.store("user.alice.in", "g")
    over(jedi, jedi.move(jedi.claim(1), J.RUNNING), J.FAILED, charged=True)
    (queued,) = [pandaid for pandaid, job in jedi.jobs().items() if job.status == "activated"]
    assert jedi.command("finish", soft=True).answer == "its jobs may end"
    jedi.run(TaskEnder, JobGenerator)
    assert states(jedi) == ["failed", "activated"]
    over(jedi, jedi.move(jedi.claim(1), J.RUNNING))
    assert jedi.jobs()[queued].status == "finished"
    clock.advance(seconds=2)
    jedi.run(TaskEnder, PostProcessor)
    assert jedi.story()[-3:] == ["finishing", "prepared", "finished"]
    assert [file.status for file in jedi.inputs().values()] == ["failed", "finished"]
    assert jedi.miscounted() == {}


def test_finish_hard(jedi: Jedi, clock: ManualClock) -> None:
    running(jedi, 3)
    first, second = jedi.move(jedi.claim(2), J.RUNNING)
    over(jedi, [first])
    assert jedi.command("finish").answer == "its jobs are being killed"
    jedi.run(TaskEnder)
    assert sorted(states(jedi)) == ["cancelled", "finished", "running"]
    assert jedi.jobs()[second.pandaid].command_to_pilot == "tobekilled"
    over(jedi, [second], J.CANCELLED)
    clock.advance(seconds=2)
    jedi.run(TaskEnder, PostProcessor)
    assert (jedi.task().status, jedi.task().jobs_to_kill) == ("finished", False)
    assert jedi.miscounted() == {}


def test_a_soft_finish_may_be_hardened_but_not_softened(jedi: Jedi, clock: ManualClock) -> None:
    running(jedi, 1)
    jedi.command("finish", soft=True)
    jedi.run(TaskEnder)
    assert states(jedi) == ["activated"]
    assert jedi.command("finish", soft=False).status == "done"
    assert jedi.command("finish", soft=True).status == "done"
    clock.advance(seconds=2)
    jedi.run(TaskEnder)
    assert states(jedi) == ["cancelled"]


def test_finishing_softly_releases_what_a_pause_held_back(jedi: Jedi) -> None:
    running(jedi, 2)
    assert jedi.command("pause").answer == "2 queued jobs are held back; running jobs go on"
    assert states(jedi) == ["throttled"] * 2
    jedi.command("finish", soft=True)
    jedi.run(TaskEnder)
    assert states(jedi) == ["activated"] * 2


def test_outputs_of_a_task_that_runs_again_are_open_again(jedi: Jedi) -> None:
    running(jedi, 2)
    over(jedi, jedi.move(jedi.claim(2), J.RUNNING), J.FAILED, give_back=give_up(jedi))
    jedi.run(WatchDog, PostProcessor)
    assert jedi.task().status == "failed"
    assert jedi.command("retry").answer == "2 inputs are tried again"
    assert jedi.dataset("output").status == "running"
    with jedi.engine.connect() as tx:
        assert datasets.recount(tx, jedi.jeditaskid) == {}
    jedi.run(JobGenerator)
    over(jedi, jedi.move(jedi.claim(2), J.RUNNING))
    jedi.clock.advance(seconds=11)  # type: ignore[attr-defined]
    jedi.run(WatchDog, PostProcessor)
    assert (jedi.task().status, jedi.task().attempt_nr) == ("done", 1)
    assert jedi.miscounted() == {}
