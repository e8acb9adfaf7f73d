"""Scouting: a few jobs first, the task set by what they measured, its user asked when they show that it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, ScoutEvaluator, TaskRefiner
from bamboo.jedi.task_agent import Round
from bamboo.plugins.grid import Work
from bamboo.plugins.questions import read_question
from bamboo.plugins.scouting import N_AVALANCHED, N_SCOUTS
from bamboo.sql import jobs, settings
from bamboo.sql.engine import reading
from bamboo.tests.jedi.rounds import Jedi, on_both_databases, reads

NOTHING: list[Round] = [Round()]
DONE = [Round(done=1)]


def submitted(jedi: Jedi, n_files: int = 100, **parameters: Any) -> Jedi:
    """A task of so many inputs of ten events and 5 bytes, up to its first jobs."""
    jedi.queue(corepower=20)
    jedi.store("user.alice.in", *(f"f{n:04d}" for n in range(n_files)))
    jedi.submit(**{"nFilesPerJob": 1, **parameters})
    assert jedi.run(TaskRefiner, ContentsFeeder, JobGenerator) == DONE * 3
    return jedi


def play(jedi: Jedi, n: int, to: JobState = JobState.FINISHED, *, seconds: int = 1000, **columns: Any) -> list[int]:
    """Have pilots run jobs for so long, and report such figures."""
    began = jedi.clock() - timedelta(seconds=seconds)
    held = jedi.move(jedi.claim(n), JobState.RUNNING, started_at=began)
    held = jedi.move(held, JobState.HOLDING, ended_at=jedi.clock(), **columns)
    how: dict[str, Any] = {"charged": True} if to is JobState.FAILED else {}
    return jedi.book(held, to, **how)


def set_number(jedi: Jedi, key: str, value: float) -> None:
    with jedi.engine.begin() as tx:
        settings.set_value(tx, "scouts", key, "jedi", str(value), kind="float", now=jedi.clock())


def scouts(jedi: Jedi) -> list[bool]:
    return [job.is_scout for job in jedi.jobs().values()]


@on_both_databases
def test_scouts_measure_and_the_task_avalanches(jedi: Jedi) -> None:
    submitted(jedi, nFilesPerJob=None)
    assert (jedi.task().status, jedi.task().n_scouts, scouts(jedi)) == ("scouting", 10, [True] * 10)
    assert [job.n_input_files for job in jedi.jobs().values()] == [1] * 10
    assert jedi.run(JobGenerator, ScoutEvaluator) == NOTHING * 2
    figures = {"max_pss_kb": 500 * 1024, "work_dir_bytes": 300 << 20, "tot_rbytes_kb": 6000, "tot_wbytes_kb": 2000}
    play(jedi, 4, **figures)
    assert jedi.run(ScoutEvaluator) == NOTHING  # four of ten are not half
    play(jedi, 1, **figures)
    assert jedi.run(ScoutEvaluator) == DONE
    task = jedi.task()
    assert (task.status, task.optimisation_stage, task.error_dialog) == ("scouted", 1, None)
    # 1 000 s * 20 HS06 * 0.9 * 1.5 / 10 events; 500 MB * 1.1; 8 000 kB / 1 000 s; outputs of 42 bytes
    assert (task.cpu_time, task.ram_count_mb, task.disk_io) == (pytest.approx(2700.0), 550, 8)
    assert (task.work_disk_count_mb, task.out_disk_count_kb, task.io_intensity) == (300, 1, 1)
    decision = jedi.decided()[0]
    assert (decision.actor, decision.what) == ("scout_evaluator", "figures of the scouts")
    assert decision.why["figures"]["ram_count_mb"] == {"old": 0, "new": 550, "measured": 550.0, "job": 4, "jobs": 5}
    assert jedi.run(JobGenerator) == DONE
    assert jedi.task().status == "running"
    assert sum(job.n_input_files for job in jedi.jobs().values()) == 100
    late = [job for job in jedi.jobs().values() if not job.is_scout]
    assert {job.min_ram_count_mb for job in late} == {550}
    assert jedi.story() == ["registered", "defined", "ready", "scouting", "scouted", "running"]
    assert jedi.miscounted() == {}


def asked_for(jedi: Jedi) -> Work:
    """For which kind of jobs brokers are asked now, by the Job Generator and by `bamboo why`."""
    with reading(jedi.engine) as tx:
        return read_question(tx, jedi.task(), now=jedi.clock()).grid.work


def test_brokers_are_told_that_jobs_are_scouts(jedi: Jedi) -> None:
    jedi.store("user.alice.in", *(f"f{n:04d}" for n in range(100)))
    jedi.queue()
    jedi.submit(nFilesPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder)
    assert (jedi.task().status, asked_for(jedi)) == ("ready", Work.SCOUT)
    jedi.run(JobGenerator)
    assert (jedi.task().status, asked_for(jedi)) == ("scouting", Work.SCOUT)
    play(jedi, 10)
    jedi.run(ScoutEvaluator)
    assert (jedi.task().status, asked_for(jedi)) == ("scouted", Work.RUN)


@on_both_databases
def test_the_first_jobs_after_the_avalanche_are_measured_once(jedi: Jedi) -> None:
    set_number(jedi, N_AVALANCHED.key, 3)
    submitted(jedi)
    play(jedi, 10, max_pss_kb=100 * 1024)
    jedi.run(ScoutEvaluator, JobGenerator)
    assert jedi.task().ram_count_mb == 500  # the least that is set
    (decision,) = (one for one in jedi.decided() if one.actor == "scout_evaluator")
    figure = decision.why["figures"]["ram_count_mb"]
    assert (figure["new"], figure["measured"], figure["least"]) == (500, 110.0, 500.0)
    play(jedi, 2, max_pss_kb=2000 * 1024)
    assert jedi.run(ScoutEvaluator) == NOTHING
    play(jedi, 1, max_pss_kb=2000 * 1024)
    assert jedi.run(ScoutEvaluator) == DONE
    assert (jedi.task().status, jedi.task().ram_count_mb, jedi.task().optimisation_stage) == ("running", 2200, 2)
    assert jedi.decided()[0].what == "figures of 3 jobs after the avalanche"
    play(jedi, 9, max_pss_kb=900 * 1024)
    assert jedi.run(ScoutEvaluator) == NOTHING


@pytest.mark.parametrize(
    ("n_files", "parameters"),
    [
        (99, {}),  # ten scouts would read more than a tenth
        (199, {"nFilesPerJob": 2}),
        (100, {"skipScout": True}),
    ],
)
def test_small_tasks_and_those_that_say_so_do_not_scout(jedi: Jedi, n_files: int, parameters: dict[str, Any]) -> None:
    submitted(jedi, n_files, **parameters)
    assert (jedi.task().status, jedi.task().n_scouts, any(scouts(jedi))) == ("running", 0, False)
    play(jedi, 100)
    assert jedi.run(ScoutEvaluator) == NOTHING


def test_an_organisation_may_do_without_scouts(jedi: Jedi) -> None:
    set_number(jedi, N_SCOUTS.key, 0)
    submitted(jedi)
    assert jedi.task().status == "running"


@on_both_databases
def test_scouts_that_fail_are_made_again_until_that_is_hopeless(jedi: Jedi) -> None:
    submitted(jedi, maxAttempt=2)
    play(jedi, 4)
    play(jedi, 6, JobState.FAILED)
    assert jedi.run(ScoutEvaluator, JobGenerator) == [Round(), Round(done=1)]
    assert (jedi.task().status, len(jedi.jobs()), all(scouts(jedi))) == ("scouting", 16, True)
    play(jedi, 6, JobState.FAILED)
    jedi.run(JobGenerator)
    assert len(jedi.jobs()) == 20  # ten scouts with two attempts
    play(jedi, 4, JobState.FAILED)
    assert jedi.run(JobGenerator, ScoutEvaluator) == [Round(), Round(done=1)]
    assert jedi.task().status == "exhausted"
    assert jedi.task().error_dialog.startswith("exhausted: only 4 of 20 scouts were done: see why they failed, and")


def exhausted(jedi: Jedi, **parameters: Any) -> Jedi:
    """A task that asked for 100 MB, of which half of the scouts used 1 000 MB."""
    submitted(jedi, **{"ramCount": 100, **parameters})
    play(jedi, 5, max_pss_kb=1000 * 1024)
    assert jedi.run(ScoutEvaluator, JobGenerator) == [Round(done=1), Round()]
    assert (jedi.task().status, len(jedi.jobs())) == ("exhausted", 10)
    return jedi


@on_both_databases
def test_a_wrong_preset_exhausts_the_task_and_a_retry_with_a_right_one_scouts_again(jedi: Jedi) -> None:
    exhausted(jedi)
    text = "ramCount is 100 MB per core, but 1100 were measured, with the margin (job 4): ask for 1100"
    ways_out = (
        f"`bamboo task retry {jedi.jeditaskid} --set KEY=VALUE` with better parameters, or `bamboo task avalanche"
    )
    assert jedi.task().error_dialog == f"exhausted: {text} ({ways_out} {jedi.jeditaskid}`)"
    decision = jedi.decided()[0]
    assert (decision.what, decision.why["faults"]) == ("exhausted by its scouts", {"ramCount differs": text})
    answer = jedi.command("retry", new_parameters={"ramCount": 1200})
    assert (answer.status, answer.answer) == ("done", "scouts are tried again over 90 inputs")
    assert (jedi.task().status, jedi.task().ram_count_mb, jedi.task().error_dialog) == ("ready", 1200, None)
    assert jedi.run(JobGenerator) == DONE  # the scouts of before are not counted, nor are their figures
    assert (jedi.task().status, jedi.task().n_scouts) == ("running", 0)  # of 90 inputs, 10 are not a small portion
    assert len(jedi.jobs()) == 100
    assert jedi.miscounted() == {}


def test_a_large_task_is_scouted_again_after_a_retry(jedi: Jedi) -> None:
    exhausted(jedi, n_files=120)
    jedi.command("retry", new_parameters={"ramCount": 1000})
    assert jedi.run(JobGenerator, ScoutEvaluator) == [Round(done=1), Round()]
    assert (jedi.task().status, len(jedi.jobs()), jedi.task().first_scout_nr) == ("scouting", 20, 11)
    play(jedi, 10, max_pss_kb=1000 * 1024)
    assert jedi.run(ScoutEvaluator) == DONE
    assert (jedi.task().status, jedi.task().ram_count_mb) == ("scouted", 1100)


@on_both_databases
def test_an_avalanche_goes_on_with_what_was_measured(jedi: Jedi) -> None:
    exhausted(jedi)
    assert jedi.command("avalanche").answer == "the remaining jobs are generated"
    assert (jedi.task().status, jedi.task().error_dialog, jedi.task().ram_count_mb) == ("running", None, 1100)
    assert jedi.run(JobGenerator, ScoutEvaluator) == [Round(done=1), Round()]
    assert (jedi.task().status, len(jedi.jobs()), sum(scouts(jedi))) == ("running", 100, 10)


def test_an_avalanche_does_not_wait_for_the_scouts(jedi: Jedi) -> None:
    submitted(jedi)
    jedi.command("avalanche")
    jedi.run(JobGenerator)
    assert (jedi.task().status, len(jedi.jobs()), sum(scouts(jedi))) == ("running", 100, 10)
    play(jedi, 5)
    assert jedi.run(ScoutEvaluator) == NOTHING


def test_scouts_that_wait_to_be_merged_count(jedi: Jedi) -> None:
    """Their merge jobs come with the others, so that a task that waited for them would wait for ever."""
    merge = {"mergeOutput": True, "mergeSpec": {"jobParameters": "-x ${TRN_OUTPUT:OUTPUT}"}}
    submitted(jedi, **merge)
    held = jedi.move(jedi.claim(5), JobState.RUNNING, JobState.HOLDING)
    jedi.move(held, JobState.MERGING)
    jedi.run(ScoutEvaluator)
    assert jedi.task().status == "scouted"


def test_a_task_that_was_held_up_goes_back_to_its_scouts(jedi: Jedi, clock: ManualClock) -> None:
    submitted(jedi)
    jedi.set(status="throttled", old_status="scouting")
    assert jedi.run(JobGenerator) == DONE
    assert (jedi.task().status, len(jedi.jobs())) == ("scouting", 10)


def test_scouts_are_no_more_than_may_be_queued(make_jedi: Callable[..., Jedi], clock: ManualClock) -> None:
    jedi = submitted(make_jedi(jobgen={"max_queued_jobs_per_queue": 4}))
    assert (jedi.task().status, len(jedi.jobs())) == ("scouting", 4)
    jedi.count_jobs()
    jedi.run(JobGenerator)
    assert (jedi.task().status, jedi.task().old_status) == ("throttled", "scouting")
    play(jedi, 4)
    jedi.count_jobs()
    clock.advance(minutes=2)
    jedi.run(JobGenerator)
    assert (jedi.task().status, len(jedi.jobs())) == ("scouting", 8)


def test_a_later_retry_keeps_what_was_measured_unless_it_says_otherwise(jedi: Jedi) -> None:
    submitted(jedi, maxAttempt=1)
    play(jedi, 9, max_pss_kb=1000 * 1024, tot_rbytes_kb=7000)
    play(jedi, 1, JobState.FAILED)
    jedi.run(ScoutEvaluator, JobGenerator)
    jedi.command("retry", new_parameters={"maxFailure": 5})
    assert (jedi.task().ram_count_mb, jedi.task().disk_io) == (1100, 7)
    jedi.command("retry", new_parameters={"ramCount": 3000})
    assert (jedi.task().ram_count_mb, jedi.task().disk_io) == (3000, 7)


def test_a_task_from_before_there_were_scouts_goes_on(jedi: Jedi) -> None:
    submitted(jedi)
    jedi.set(status="running", old_status="ready", n_scouts=None)
    jedi.run(JobGenerator)
    assert (jedi.task().status, len(jedi.jobs()), jedi.task().error_dialog) == ("running", 100, None)


@on_both_databases
def test_events_of_secondary_streams_are_not_those_of_the_job(jedi: Jedi) -> None:
    """Figures an event are of the main input's events: five files of 1 000 beside it made cpuTime 500 times smaller."""
    jedi.queue(corepower=20)
    jedi.store("user.alice.in", *(f"f{n:04d}" for n in range(100)))
    jedi.store("user.alice.pu", *(f"p{n:04d}" for n in range(1000)), n_events=1000)
    jedi.submit(reads(), reads("user.alice.pu", "${PU}", ratio=5), nFilesPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    play(jedi, 5)
    assert jedi.run(ScoutEvaluator) == DONE
    assert (jedi.task().status, jedi.task().cpu_time) == ("scouted", pytest.approx(2700.0))


@on_both_databases
def test_scouts_that_no_pilot_took_are_made_again(jedi: Jedi) -> None:
    """A closed job uses up no attempt of its inputs; it used up the scouting, so that a quiet queue exhausted tasks."""
    submitted(jedi, maxAttempt=2)
    for _ in range(3):
        waiting = [jobs.ref(job) for job in jedi.jobs().values() if job.status == JobState.ACTIVATED]
        jedi.book(waiting, JobState.CLOSED)
        assert jedi.run(ScoutEvaluator, JobGenerator) == [Round(), Round(done=1)]
    assert (jedi.task().status, len(jedi.jobs())) == ("scouting", 40)
    play(jedi, 5)
    assert jedi.run(ScoutEvaluator) == DONE
    assert (jedi.task().status, jedi.last_line().why) == ("scouted", "5 of 10 scouts are done")


@on_both_databases
def test_scouts_are_evaluated_though_no_queue_fits(jedi: Jedi, clock: ManualClock) -> None:
    """The Job Generator took the task in each round to say that no queue fits, and the figures never came in."""
    submitted(jedi)
    play(jedi, 1, JobState.FAILED)
    jedi.queue("Q", status="brokeroff")
    assert jedi.run(JobGenerator) == DONE
    assert (jedi.task().status, jedi.task().old_status) == ("pending", "scouting")
    play(jedi, 9)
    clock.advance(minutes=1)
    assert jedi.run(JobGenerator, ScoutEvaluator) == [Round(), Round(done=1)]
    assert (jedi.task().status, jedi.task().optimisation_stage) == ("scouted", 1)
