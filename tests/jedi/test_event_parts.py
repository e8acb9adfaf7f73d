"""Files that are cut at event boundaries: jobs are told where they begin, and each event is processed once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, PostProcessor, TaskRefiner, WatchDog
from bamboo.sql import completion
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi, on_both_databases, reads

COUNTED = "${IN} ${SKIPEVENTS}+${MAXEVENTS}"


def lines(jedi: Jedi) -> list[str]:
    with jedi.engine.connect() as tx:
        return list(tx.scalars(sa.select(t.job_params.c.job_parameters).order_by(t.job_params.c.pandaid)))


@on_both_databases
def test_each_part_of_a_file_is_processed_once(jedi: Jedi) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "a", n_events=100)
    jedi.store("user.alice.in", "b", n_events=15)
    jedi.submit(reads(value=COUNTED), nEventsPerJob=40)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert lines(jedi) == ["a 0+40", "a 40+40", "a,b 80+35"]
    assert [job.n_events for job in jedi.jobs().values()] == [40, 40, 35]
    assert (jedi.dataset().n_files, jedi.dataset().n_events) == (4, 115)
    first, second, third = jedi.move(jedi.claim(3), JobState.RUNNING, JobState.HOLDING)
    jedi.book([first, third])
    jedi.book([second], JobState.FAILED, charged=True)
    jedi.run(JobGenerator)
    assert lines(jedi)[3:] == ["a 40+40"]
    jedi.book(jedi.move(jedi.claim(1), JobState.RUNNING, JobState.HOLDING))
    with jedi.engine.begin() as tx:
        assert completion.complete_tasks(tx, [jedi.jeditaskid], actor="test", now=jedi.clock()) == [jedi.jeditaskid]
        done = sa.select(t.job_files.c.lfn, t.job_files.c.first_event, t.job_files.c.n_events).where(
            t.job_files.c.status == "finished", t.job_files.c.type == "input"
        )
        assert sorted(map(tuple, tx.execute(done))) == [("a", 0, 40), ("a", 40, 40), ("a", 80, 20), ("b", 0, 15)]
    assert jedi.miscounted() == {}


def test_events_as_the_user_says(jedi: Jedi) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "a", "b", n_events=None)
    jedi.submit(reads(value=COUNTED), nEventsPerJob=60, nEventsPerFile=100)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert lines(jedi) == ["a 0+60", "a 60+40", "b 0+60", "b 60+40"]


def test_events_of_the_user_size_jobs_by_their_time(jedi: Jedi) -> None:
    """Each file counted as one event: one job of twelve files, of 13 333 s where 3 600 s were allowed."""
    jedi.queue(corepower=10)
    jedi.store("user.alice.in", *(f"f{n:02d}" for n in range(12)), n_events=None)
    jedi.submit(nEventsPerFile=10, cpuTime=1000, maxWalltime=1, skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert jedi.dataset().n_events == 120
    # 1 000 HS06 s / (10 HS06 * 0.9) = 111 s an event, 1 111 s a file
    assert [job.n_input_files for job in jedi.jobs().values()] == [3] * 4


def test_the_broker_counts_the_events_of_the_user(make_jedi: Callable[..., Jedi]) -> None:
    plugin = "any:any:bamboo.plugins.production.job_broker:ProductionJobBroker"
    jedi = make_jedi(jobbroker={"modConfig": plugin})
    jedi.queue(corepower=1, maxtime=3600)
    jedi.store("user.alice.in", "f", n_events=None)
    jedi.submit(nEventsPerFile=10, cpuTime=10_000, cpuEfficiency=90, baseTime=10, skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert jedi.task().status == "pending"
    assert "maxtime of 111122 s" in jedi.task().error_dialog  # 10 000 HS06 s * 10 / 0.9 + 10 s


@on_both_databases
def test_without_a_place_to_begin_no_file_is_cut(jedi: Jedi) -> None:
    """Else each job would process the whole file. The first jobs of such a task ran before it was broken."""
    jedi.queue()
    jedi.store("user.alice.in", *(f"f{n:02d}" for n in range(30)))
    jedi.store("user.alice.in", "z", n_events=100)
    jedi.submit(nEventsPerJob=40)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert (jedi.task().status, jedi.jobs()) == ("tobroken", {})
    assert "put ${SKIPEVENTS} into the command line" in jedi.task().error_dialog


@on_both_databases
@pytest.mark.parametrize("late", [["c"], []])
def test_a_task_that_is_done_is_not_broken_by_a_file_that_fits_no_job(
    jedi: Jedi, clock: ManualClock, late: list[str]
) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "a", "b")
    jedi.submit(nEventsPerJob=20)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    jedi.book(jedi.move(jedi.claim(9), JobState.RUNNING, JobState.HOLDING))
    jedi.run(WatchDog, PostProcessor)
    assert jedi.task().status == "done"
    clock.advance(minutes=1)
    jedi.store("user.alice.in", *late)
    jedi.store("user.alice.in", "z", n_events=100)
    assert jedi.command("incexec").status == "done"
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert jedi.lfns() == ["a", "b", *late]
    assert "1 file of user.alice.in left out, such as z" in [decision.what for decision in jedi.decided()]
    jedi.book(jedi.move(jedi.claim(9), JobState.RUNNING, JobState.HOLDING))
    jedi.run(WatchDog, PostProcessor)
    assert jedi.task().status == "done"
    assert jedi.miscounted() == {}


def test_the_last_job_over_numbers_has_the_rest_of_the_events(jedi: Jedi) -> None:
    jedi.queue()
    piece = {"type": "constant", "value": "${FIRSTEVENT}+${MAXEVENTS}"}
    jedi.submit(piece, noInput=True, nEvents=10, nEventsPerJob=4)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert lines(jedi) == ["0+4", "4+4", "8+2"]
