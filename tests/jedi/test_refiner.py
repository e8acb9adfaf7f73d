"""Task Refiner: parameters become tasks and datasets, or the task says what is wrong with them."""

from __future__ import annotations

import pytest

from bamboo.jedi.agents import ContentsFeeder, PostProcessor, TaskRefiner
from bamboo.jedi.task_agent import Round
from bamboo.sql import datasets
from bamboo.tests.jedi.rounds import Jedi, reads


def test_a_task_gets_its_columns_and_datasets(jedi: Jedi) -> None:
    jedi.submit(nFilesPerJob=2, coreCount=4, ramCount=1000, maxAttempt=5, log={**_LOG})
    assert jedi.run(TaskRefiner) == [Round(done=1)]
    task = jedi.task()
    assert (task.status, task.core_count, task.ram_count_mb, task.max_attempt) == ("defined", 4, 4000, 5)
    assert task.split_rule["nFilesPerJob"] == 2
    with jedi.engine.connect() as tx:
        rows = datasets.of_task(tx, jedi.jeditaskid)
    assert [(row.type, row.dataset_name, row.stream_name, row.is_master, row.status) for row in rows] == [
        ("input", "user.alice.in", "IN", True, "defined"),
        ("output", "user.alice.a_out.txt", "OUTPUT0", False, "defined"),
        ("log", "user.alice.a.log", "LOG", False, "defined"),
    ]
    assert jedi.run(TaskRefiner) == [Round()]


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"maxAttempt": 5, "maxFailure": 2}, 2),
        ({"maxAttempt": 2, "maxFailure": 5}, 2),
        ({"maxFailure": 7}, 3),  # the usual maxAttempt
        ({"maxFailure": 1}, 1),
        ({"maxFailure": 7, "disableAutoRetry": 1}, 1),
        ({}, 3),
    ],
)
def test_the_smaller_limit_of_failures_counts(jedi: Jedi, given: dict[str, int], limit: int) -> None:
    jedi.submit(**given)
    jedi.run(TaskRefiner)
    assert jedi.task().max_attempt == limit


@pytest.mark.parametrize(
    ("given", "may_idle"), [({}, False), ({"noLoopingCheck": True}, True), ({"loopingCheck": False}, True)]
)
def test_jobs_may_do_nothing_for_long_where_the_task_says_so(
    jedi: Jedi, given: dict[str, bool], may_idle: bool
) -> None:
    jedi.submit(**given)
    jedi.run(TaskRefiner)
    assert jedi.task().split_rule.get("noLoopingCheck", False) is may_idle


_LOG = {"type": "template", "param_type": "log", "value": "l.$JEDITASKID.${SN}.log.tgz", "dataset": "user.alice.a.log/"}


def test_a_task_that_cannot_work_is_broken_and_says_all_that_is_wrong(jedi: Jedi) -> None:
    jedi.submit(nFilesPerJob=-1, nFilePerJob=2, coreCount="many")
    assert jedi.run(TaskRefiner) == [Round(broken=1)]
    task = jedi.task()
    assert task.status == "tobroken"
    assert "nFilesPerJob" in task.error_dialog and "coreCount" in task.error_dialog
    assert "nFilePerJob: no such parameter (did you mean 'nFilesPerJob'?)" in task.error_dialog
    assert jedi.dataset_types() == []
    assert jedi.run(PostProcessor) == [Round(done=1)]
    broken = jedi.task()
    assert (broken.status, broken.error_dialog, broken.ended_at) == ("broken", task.error_dialog, jedi.clock())
    assert jedi.story() == ["registered", "tobroken", "broken"]


def test_a_very_long_list_of_faults_fits_its_column(jedi: Jedi) -> None:
    jedi.submit(**{f"nonsense{n}": 1 for n in range(200)})
    jedi.run(TaskRefiner)
    assert jedi.task().status == "tobroken"
    assert len(jedi.task().error_dialog) == 1024


def test_a_task_is_refined_again_with_what_it_has(jedi: Jedi) -> None:
    """After reload_input: datasets that are known are looked up again, new ones are entered."""
    jedi.store("user.alice.in", "a")
    jedi.submit()
    jedi.run(TaskRefiner, ContentsFeeder)
    known = jedi.dataset().datasetid
    jedi.set(status="finished")
    changed = {"jobParameters": [reads(include="x"), {**_MORE}], "ramCount": 500}
    assert jedi.command("incexec", new_parameters=changed).status == "done"
    assert jedi.task().status == "rerefine"
    jedi.run(TaskRefiner)
    source = jedi.dataset()
    assert (source.datasetid, source.status, source.content_cursor) == (known, "toupdate", None)
    assert source.selection["include"] == "x"
    assert jedi.task().ram_count_mb == 500
    assert jedi.story()[-3:] == ["toincexec", "rerefine", "defined"]


_MORE = {"type": "template", "param_type": "output", "value": "more.${SN}", "dataset": "user.alice.a_more/"}


@pytest.mark.parametrize("state", ["registered", "rerefine"])
def test_a_task_that_somebody_ends_is_let_go(jedi: Jedi, state: str) -> None:
    jedi.submit()
    jedi.set(status=state)
    assert jedi.command("kill").status == "done"
    assert jedi.run(TaskRefiner) == [Round()]
    assert jedi.task().status == "aborting"
