"""Task Commando: each command in each state is carried out or refused in words, and all are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.states import TASKS, JobState, TaskState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskCommando, TaskRefiner
from bamboo.jedi.agents.task_commando import ACTIVE, Obeyed
from bamboo.plugins.contracts import RefinedTask
from bamboo.plugins.hookspecs import hookimpl
from bamboo.sql import commands, tasks
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi, on_both_databases, reads

S = TaskState
SUSPENDED = {S.PENDING, S.PAUSED, S.THROTTLED}
ENDED = {S.FINISHED, S.FAILED, S.EXHAUSTED}
#: The states in which a command is carried out, and the state that it leads to; it is refused in all others.
OBEYED: dict[str, tuple[set[TaskState], TaskState]] = {
    "kill": ({s for s in S if TASKS.allows(s, S.ABORTING)} | {S.ABORTING}, S.ABORTING),
    "finish": ({s for s in S if TASKS.allows(s, S.FINISHING)} | {S.FINISHING}, S.FINISHING),
    "pause": ({s for s in S if TASKS.allows(s, S.PAUSED)} | {S.PAUSED}, S.PAUSED),
    "retry": (ENDED | set(ACTIVE), S.READY),
    "incexec": (ENDED | {S.DONE, S.ABORTED}, S.REREFINE),
    "resume": (SUSPENDED, S.RUNNING),
    "avalanche": ({S.SCOUTING, S.EXHAUSTED}, S.RUNNING),
}


def with_a_failed_input(jedi: Jedi) -> Jedi:
    """A task of three inputs: one has failed in its job, one is queued, one ready."""
    jedi.queue()
    jedi.store("user.alice.in", "a", "b", "c")
    jedi.submit(nFilesPerJob=1, maxAttempt=1, currentPriority=1000 + len(jedi.jobs()))
    jedi.run(TaskRefiner, ContentsFeeder)
    with jedi.engine.begin() as tx:
        tx.execute(sa.update(t.files).where(t.files.c.lfn == "c").values(status="broken"))
    jedi.run(JobGenerator)
    with jedi.engine.begin() as tx:
        tx.execute(sa.update(t.files).where(t.files.c.lfn == "c").values(status="ready"))
    (held,) = jedi.move(jedi.claim(1), JobState.RUNNING, JobState.HOLDING)
    give_up = {file.fileid: False for file in jedi.inputs().values()}
    jedi.book([held], JobState.FAILED, charged=True, give_back=give_up)
    return jedi


@pytest.mark.parametrize("verb", OBEYED)
def test_each_command_in_each_state(jedi: Jedi, verb: str) -> None:
    accepted, leads_to = OBEYED[verb]
    with_a_failed_input(jedi)
    for state in sorted(S, key=lambda state: state in accepted):
        if state in accepted:  # which changes the task
            with_a_failed_input(jedi)
        jedi.set(status=state, old_status=S.RUNNING if state in SUSPENDED else None)
        before = jedi.story()
        row = jedi.command(verb)
        stays = verb == "retry" and state in ACTIVE  # only its failed inputs get their attempts again
        expected = ("done", state if stays else leads_to) if state in accepted else ("refused", state)
        assert (row.status, jedi.task().status) == expected, (verb, state, row.answer)
        assert row.answer and "Error" not in row.answer and "Traceback" not in row.answer
        if state not in accepted:
            assert state in row.answer
            assert jedi.story() == before  # what it had begun is undone


def test_who_commanded_what_is_written_down(jedi: Jedi) -> None:
    jedi.submit()
    with jedi.engine.begin() as tx:
        commands.enqueue(tx, jedi.jeditaskid, "kill", user_name="bob", now=jedi.clock(), request_id="r1")
    jedi.run(TaskCommando)
    line = jedi.last_line()
    assert (line.actor, line.why, line.request_id) == ("bob", "kill command", "r1")


def test_commands_are_carried_out_in_their_order(jedi: Jedi) -> None:
    jedi.submit()
    with jedi.engine.begin() as tx:
        for verb in ("pause", "pause", "avalanche", "resume", "kill"):
            commands.enqueue(tx, jedi.jeditaskid, verb, user_name="alice", now=jedi.clock())
    assert jedi.run(TaskCommando) == [Obeyed(done=4, refused=1)]
    with jedi.engine.connect() as tx:
        rows = tx.execute(sa.select(t.commands).order_by(t.commands.c.commandid)).all()
    assert [row.answer for row in rows] == [
        "0 queued jobs are held back; running jobs go on",
        "it is paused already",
        "a paused task is not scouting",
        "it is registered again, and 0 jobs are released",
        "its jobs are being killed",
    ]


@on_both_databases
def test_pause_holds_queued_jobs_back_and_resume_releases_them(jedi: Jedi) -> None:
    with_a_failed_input(jedi)
    jedi.command("pause")
    assert sorted(job.status for job in jedi.jobs().values()) == ["failed", "throttled"]
    assert jedi.claim(9) == []
    assert jedi.command("resume").answer == "it is running again, and 1 jobs are released"
    assert len(jedi.claim(9)) == 1


@on_both_databases
def test_retry_gives_failed_inputs_all_their_attempts_again(jedi: Jedi) -> None:
    with_a_failed_input(jedi)
    jedi.set(status=S.FINISHED, ended_at=jedi.clock(), error_dialog="old")
    row = jedi.command("retry", new_parameters={"maxAttempt": 7, "ramCount": 3000})
    assert row.answer == "1 input is tried again"
    task = jedi.task()
    assert (task.status, task.attempt_nr, task.ended_at, task.error_dialog) == ("ready", 1, None, None)
    assert (task.max_attempt, task.ram_count_mb) == (7, 3000)
    file = jedi.inputs()["a"]
    assert (file.status, file.failed_attempts, file.max_attempt) == ("ready", 0, 7)
    assert jedi.miscounted() == {}
    jedi.run(JobGenerator)
    assert {job.min_ram_count_mb for job in jedi.jobs().values() if job.status == "activated"} == {0, 3000}
    with jedi.engine.connect() as tx:
        assert tasks.get_parameters(tx, jedi.jeditaskid)["maxAttempt"] == 7


def test_retry_with_parameters_that_cannot_be_is_refused_whole(jedi: Jedi) -> None:
    with_a_failed_input(jedi)
    jedi.set(status=S.FINISHED)
    row = jedi.command("retry", new_parameters={"maxAttempt": -1, "ramCont": 1})
    assert row.status == "refused"
    assert "maxAttempt" in row.answer and "did you mean 'ramCount'?" in row.answer
    assert jedi.task().status == "finished"
    with jedi.engine.connect() as tx:
        assert "ramCont" not in tasks.get_parameters(tx, jedi.jeditaskid)
    assert jedi.inputs()["a"].status == "failed"


def test_a_retry_needs_something_to_try(jedi: Jedi) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "a")
    jedi.submit()
    jedi.run(TaskRefiner, ContentsFeeder)
    jedi.set(status=S.FAILED)
    row = jedi.command("retry")
    assert (row.status, jedi.task().status) == ("refused", "failed")
    assert "no input failed" in row.answer


@on_both_databases
def test_reload_input_finds_new_files_and_does_the_old_ones_once(jedi: Jedi) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "a", "b")
    jedi.submit(nFilesPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    jedi.book(jedi.move(jedi.claim(2), JobState.RUNNING, JobState.HOLDING))
    jedi.set(status=S.DONE)
    jedi.store("user.alice.in", "a", "b", "c")
    assert jedi.command("incexec").answer == "its inputs are looked up again"
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert jedi.task().status == "running"
    (job,) = [job for job in jedi.jobs().values() if job.status == "activated"]
    assert (job.serial_nr, job.n_input_files) == (3, 1)
    assert [file.status for file in jedi.inputs().values()] == ["finished", "finished", "running"]
    assert jedi.miscounted() == {}


@on_both_databases
def test_a_task_put_aside_before_its_inputs_were_known_looks_them_up_when_retried(jedi: Jedi) -> None:
    jedi.queue()
    jedi.submit(waitInput=1)
    jedi.run(TaskRefiner, ContentsFeeder)
    jedi.set(status=S.EXHAUSTED)  # as the Watch Dog does when it has waited for too long
    jedi.store("user.alice.in", "a")
    row = jedi.command("avalanche")
    assert (row.status, jedi.task().status) == ("refused", "exhausted")
    assert "retry looks them up" in row.answer
    assert jedi.command("retry").answer == "its inputs are looked up again"
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert (jedi.task().status, len(jedi.jobs())) == ("running", 1)


class Careless:
    """A refiner with a bug that shows only when what it made is stored."""

    @hookimpl
    def refine_task(self, parameters: dict[str, Any], user_name: str) -> RefinedTask:
        return RefinedTask({"no_such_column": 1}, [])


def test_a_command_that_fails_by_a_bug_does_not_block_the_others(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str]
) -> None:
    jedi = make_jedi(taskrefine={"modConfig": f"wlcg:bad:{strangers(Careless)}"})
    jedi.submit(label="bad")
    with jedi.engine.begin() as tx:
        task = tasks.get_task(tx, jedi.jeditaskid)
        tasks.update_task(tx, task.jeditaskid, status=S.EXHAUSTED)
    row = jedi.command("retry", new_parameters={"jobParameters": [reads()]})
    assert (row.status, jedi.task().status) == ("refused", "exhausted")
    assert "no_such_column" in row.answer
    assert jedi.command("kill").status == "done"
