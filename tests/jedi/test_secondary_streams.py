"""Secondary datasets, as `prun --secondaryDSs` asks for them (panda-client.md 7.6; manual ch. 4.1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bamboo.core.states import JobState
from bamboo.core.task_pieces import JobParameter
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.jedi.job_builder import Portion
from bamboo.jedi.streams import Stream
from bamboo.plugins.contracts import InputFile
from bamboo.sql import completion, datasets
from bamboo.tests.jedi.captured import inputs, lines, staged, start, streams
from bamboo.tests.jedi.rounds import Jedi, on_both_databases, reads

MAIN = "user.alice.input"


def store(jedi: Jedi, **n_files: int) -> None:
    """Register `user.alice.<name>` with so many files, called <name>1, <name>2…"""
    for name, n in n_files.items():
        jedi.store(f"user.alice.{name}", *(f"{name}{number}" for number in range(1, n + 1)))


def secondary(jedi: Jedi, stream: str) -> Any:
    with jedi.engine.connect() as tx:
        return next(row for row in datasets.inputs(tx, jedi.jeditaskid) if row.stream_name == stream)


@on_both_databases
def test_each_job_gets_files_of_every_stream(jedi: Jedi) -> None:
    store(jedi, input=2, mb=4)
    jedi.store("user.alice.cal", "pat0", "pat1", "pat2", "pat3", "pat4", "other")
    start(jedi, "secondary", nFilesPerJob=1)
    assert streams(jedi) == [
        {"IN": ["input1"], "IN2": ["mb1", "mb2"], "CAL": ["pat3"]},
        {"IN": ["input2"], "IN2": ["mb3", "mb4"], "CAL": ["pat4"]},
    ]
    assert staged(jedi) == [["input1", "mb1", "mb2", "pat3"], ["input2", "mb3", "mb4", "pat4"]]
    assert inputs(jedi) == [["input1"], ["input2"]]
    assert "${" not in "".join(lines(jedi))
    assert [job.n_input_files for job in jedi.jobs().values()] == [4, 4]
    assert jedi.miscounted() == {}


@on_both_databases
def test_secondary_files_are_counted_but_the_main_ones_decide(jedi: Jedi) -> None:
    store(jedi, input=4, mb=3)
    start(jedi, "ratio")
    assert [sorted(job["IN2"]) for job in streams(jedi)] == [["mb1", "mb2", "mb3"]] * 2
    jedi.book(jedi.move(jedi.claim(2, "LOCAL"), JobState.RUNNING, JobState.HOLDING))
    assert jedi.miscounted() == {}
    assert secondary(jedi, "IN2").n_files_finished == 3
    assert secondary(jedi, "IN").n_files_finished == 4
    with jedi.engine.begin() as tx:
        assert completion.complete_tasks(tx, [jedi.jeditaskid], actor="test", now=jedi.clock()) == [jedi.jeditaskid]


def test_a_stream_that_is_used_up_begins_again(jedi: Jedi) -> None:
    store(jedi, input=8, mb=3, cal=2)
    start(jedi, "reusable")
    told = streams(jedi)
    assert [job["IN2"] for job in told] == [["mb1", "mb2"], ["mb1", "mb3"], ["mb2", "mb3"], ["mb1", "mb2"]]
    assert [job["CAL"] for job in told] == [["cal1"], ["cal2"], ["cal1"], ["cal2"]]
    jedi.book(jedi.move(jedi.claim(4, "LOCAL"), JobState.RUNNING, JobState.HOLDING))
    assert jedi.miscounted() == {}


def test_files_of_a_failed_job_are_new_again(jedi: Jedi) -> None:
    """The failure is charged to the main input alone: a secondary file is never given up."""
    store(jedi, input=1, mb=2)
    start(jedi, "ratio", reuseSecOnDemand=None, maxAttempt=2)
    for again in (True, False):
        held = jedi.move(jedi.claim(1, "LOCAL"), JobState.RUNNING, JobState.HOLDING)
        files = jedi.inputs()
        give_back = {row.fileid: again for row in files.values()}
        jedi.book(held, JobState.FAILED, give_back=give_back, charged=True)
        assert {jedi.inputs()[name].status for name in ("mb1", "mb2")} == {"ready"}
        assert [jedi.inputs()[name].failed_attempts for name in ("mb1", "mb2")] == [0, 0]
        jedi.run(JobGenerator)
    assert [job["IN2"] for job in streams(jedi)] == [["mb1", "mb2"]] * 2
    assert jedi.inputs()["input1"].status == "failed"
    assert jedi.miscounted() == {}


def test_a_stream_that_may_not_begin_again_holds_the_task(jedi: Jedi) -> None:
    store(jedi, input=3, mb=5)
    start(jedi, "secondary", nFilesPerJob=1, reuseSecOnDemand=None, jobParameters=_pieces(nFilesPerJob=2))
    assert [job["IN2"] for job in streams(jedi)] == [["mb1", "mb2"], ["mb3", "mb4"]]
    jedi.run(JobGenerator)
    task = jedi.task()
    assert (task.status, task.old_status) == ("pending", "running")
    assert "secondary stream IN2 is used up" in task.error_dialog
    assert jedi.command("finish").status == "done"


def _pieces(**how: Any) -> list[dict[str, Any]]:
    return [
        reads(MAIN, '-i "${IN/T}"'),
        reads("user.alice.mb", "${IN2}", hidden=True, **how),
        {"type": "constant", "value": "--inMap \"{'IN': ${IN/T}, 'IN2': ${IN2/T}}\""},
    ]


def test_a_stream_that_is_not_split_goes_to_every_job(jedi: Jedi) -> None:
    store(jedi, input=2, mb=3)
    jedi.queue()
    jedi.submit(*_pieces(attributes="nosplit,repeat"), nFilesPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert [job["IN2"] for job in streams(jedi)] == [["mb1", "mb2", "mb3"]] * 2


@on_both_databases
@pytest.mark.parametrize(
    ("how", "sizes"),
    [
        ({"ratio": 1}, [4, 2]),  # 2 k + 0.5 <= 10, so k = 4
        ({"nFilesPerJob": 3}, [6]),  # k + 3 + 0.5 <= 10
        ({"attributes": "nosplit"}, [3, 3]),  # k + 6 + 0.5 <= 10
    ],
)
def test_secondary_files_take_room_on_the_scratch_disk(jedi: Jedi, how: dict[str, Any], sizes: list[int]) -> None:
    """Manual ch. 13: inputDiskCount is the total size of job input files, and 0.5 GB are kept for outputs."""
    for name in ("input", "mb"):
        jedi.store(f"user.alice.{name}", *(f"{name}{number}" for number in range(1, 7)), size_bytes=1 << 30)
    jedi.queue(maxwdir=10 * 1024)
    jedi.submit(*_pieces(**how), skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert [len(job["IN"]) for job in streams(jedi)] == sizes


def test_secondary_datasets_without_a_main_one(jedi: Jedi) -> None:
    store(jedi, mb=4)
    start(jedi, "secondary_alone")
    assert streams(jedi) == [{"IN2": ["mb1", "mb2"]}, {"IN2": ["mb3", "mb4"]}, {"IN2": ["mb1", "mb2"]}]
    assert staged(jedi)[0] == ["mb1", "mb2"]


def test_containers_need_not_be_expanded(jedi: Jedi) -> None:
    store(jedi, input=1, mb=2)
    start(jedi, "not_expanded")
    assert streams(jedi) == [{"IN": ["input1"], "IN2": ["mb1", "mb2"]}]
    assert lines(jedi)[0].endswith("--writeInputToTxt IN:a.txt,IN2:b.txt")


def test_every_job_gets_the_one_database_release(jedi: Jedi) -> None:
    store(jedi, input=3)
    jedi.store("ddo.x", "DBRelease-1.tar.gz")
    start(jedi, "database_release", nFilesPerJob=1)
    assert [line.count("--dbrFile=DBRelease-1.tar.gz") for line in lines(jedi)] == [1, 1, 1]


def test_a_secondary_dataset_that_is_not_there_breaks_the_task(jedi: Jedi) -> None:
    store(jedi, input=1)
    start(jedi, "ratio")
    assert jedi.task().status == "tobroken"
    assert "user.alice.mb" in jedi.task().error_dialog


def _file(number: int) -> InputFile:
    return InputFile(
        fileid=number,
        datasetid=1,
        lfn=f"f{number}",
        scope=None,
        guid=None,
        url=None,
        size_bytes=1,
        checksum=None,
        n_events=None,
        attempt_nr=0,
        failed_attempts=0,
    )


@given(st.integers(1, 9), st.integers(0, 9), st.lists(st.integers(1, 4), max_size=12), st.booleans(), st.integers(1, 3))
def test_what_a_stream_hands_out(n_files: int, n_used: int, jobs: list[int], again: bool, ratio: int) -> None:
    """No job gets a file twice, new files are owned by one job at most, and none is short unless the stream is."""
    everything = [_file(number) for number in range(n_files)]
    item = JobParameter.model_validate({"type": "template", "value": "${IN2}", "ratio": ratio})
    stream = Stream(item, again, everything[n_used:], list(everything) if again else [])
    owned: list[int] = []
    for n_main in jobs:
        given_out: list[Portion] | None = stream.take(n_main)
        if given_out is None:
            assert not again
            assert n_files - n_used - len(owned) < ratio * n_main
            break
        names = [portion.file.fileid for portion in given_out]
        assert len(set(names)) == len(names) == min(ratio * n_main, n_files)
        owned += [portion.file.fileid for portion in given_out if portion.is_owned]
        assert all(portion.is_owned for portion in given_out) or again
    assert len(set(owned)) == len(owned)


@pytest.mark.parametrize("name", ["secondary", "reusable", "ratio", "not_expanded"])
def test_what_the_client_sends_makes_one_master(jedi: Jedi, name: str) -> None:
    start(jedi, name)
    with jedi.engine.connect() as tx:
        assert [row.is_master for row in datasets.inputs(tx, jedi.jeditaskid)].count(True) == 1
