"""Files that are cut at event boundaries: jobs are told where they begin, and each event is processed once."""

from __future__ import annotations

import sqlalchemy as sa

from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
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


def test_without_a_place_to_begin_no_file_is_cut(jedi: Jedi) -> None:
    """Else each job would process the whole file."""
    jedi.queue()
    jedi.store("user.alice.in", "a", n_events=100)
    jedi.submit(nEventsPerJob=40)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert (jedi.task().status, jedi.jobs()) == ("tobroken", {})
    assert "put ${SKIPEVENTS} into the command line" in jedi.task().error_dialog


def test_the_last_job_over_numbers_has_the_rest_of_the_events(jedi: Jedi) -> None:
    jedi.queue()
    piece = {"type": "constant", "value": "${FIRSTEVENT}+${MAXEVENTS}"}
    jedi.submit(piece, noInput=True, nEvents=10, nEventsPerJob=4)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert lines(jedi) == ["0+4", "4+4", "8+2"]
