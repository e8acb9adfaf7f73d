"""Options of prun as its task parameters say them: lists of addresses, files to leave out, outputs by pattern."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.errors import Invalid
from bamboo.core.states import JobState
from bamboo.core.task_parameters import TaskParameters
from bamboo.jedi.agents import JobGenerator
from bamboo.sql import tables as t
from bamboo.tests.jedi.captured import captured, inputs, lines, staged, start, streams
from bamboo.tests.jedi.rounds import Jedi, on_both_databases


def outputs(jedi: Jedi) -> list[tuple[str, str, bool]]:
    """(type, name, whether it may be missing) of the outputs of all jobs."""
    with jedi.engine.connect() as tx:
        statement = sa.select(t.job_files.c.type, t.job_files.c.lfn, t.job_files.c.may_be_missing)
        rows = tx.execute(statement.where(t.job_files.c.type.not_in(t.INPUT_TYPES)).order_by(t.job_files.c.row_id))
        return [(row.type, row.lfn, row.may_be_missing) for row in rows]


def table(line: str) -> dict[str, str]:
    """What `-o` tells a job."""
    found = re.search(r'-o "(\{.*?\})"', line)
    assert found
    return dict(ast.literal_eval(found[1]))


# --pfnList


@on_both_databases
def test_addresses_go_to_the_payload_as_they_are(jedi: Jedi) -> None:
    start(jedi, "pfn_list")
    assert inputs(jedi) == [["pfnA"], ["root://h//b/pfnB"]]
    assert all("--givenPFN" in line for line in lines(jedi))
    assert staged(jedi) == []
    assert [job.queue for job in jedi.jobs().values()] == ["LOCAL", "LOCAL"]
    jedi.book(jedi.move(jedi.claim(2, "LOCAL"), JobState.RUNNING, JobState.HOLDING))
    assert {row.status for row in jedi.inputs().values()} == {"finished"}
    assert jedi.miscounted() == {}


def test_so_many_addresses_for_each_job_and_of_all(jedi: Jedi) -> None:
    addresses = [f"root://host//f{n}" for n in range(5)]
    start(jedi, "pfn_list", pfnList=[*addresses, addresses[0]], nFilesPerJob=2, nFiles=3)
    assert inputs(jedi) == [addresses[:2], addresses[2:3]]


def test_an_address_is_tried_again_after_a_failure(jedi: Jedi) -> None:
    start(jedi, "pfn_list", pfnList=["12"], nFiles=1)
    jedi.book(jedi.move(jedi.claim(1, "LOCAL"), JobState.RUNNING, JobState.HOLDING), JobState.FAILED)
    jedi.run(JobGenerator)
    assert inputs(jedi) == [["12"], ["12"]]


def test_addresses_with_a_secondary_stream(jedi: Jedi) -> None:
    jedi.store("user.alice.mb", "mb1", "mb2")
    start(jedi, "pfn_list_secondary")
    assert inputs(jedi) == [["pfnA"]]
    assert streams(jedi) == [{"IN2": ["mb1"]}]
    assert staged(jedi) == [["mb1"]]


@pytest.mark.parametrize("bad", [["a b"], ["x" * 256], [""], ["a", 7, "b\nc"]])
def test_what_is_no_address_is_refused(bad: list[Any]) -> None:
    with pytest.raises(Invalid, match="pfnList"):
        TaskParameters.parse(captured("pfn_list", pfnList=bad))


def test_an_input_dataset_beside_addresses_is_refused() -> None:
    both = captured("skip_files", pfnList=["a"], skipFilesUsedBy=None)
    with pytest.raises(Invalid, match=r"pfnList: given, though .* reads user.alice.input"):
        TaskParameters.parse(both)


# --skipFilesUsedBy


@on_both_databases
@pytest.mark.parametrize("by_name", [False, True])
def test_files_that_other_tasks_used_are_left_out(jedi: Jedi, by_name: bool) -> None:
    jedi.store("user.alice.input", "a", "b", "c", "d", "e")
    start(jedi, "skip_files", skipFilesUsedBy=None, nFilesPerJob=1, nFiles=3)
    done, failed, _ = jedi.move(jedi.claim(3, "LOCAL"), JobState.RUNNING, JobState.HOLDING)
    jedi.book([done])
    given_up = {row.fileid: False for row in jedi.inputs().values()}
    jedi.book([failed], JobState.FAILED, give_back=given_up, charged=True)
    first = jedi.jeditaskid
    start(jedi, "skip_files", skipFilesUsedBy="user.alice.a" if by_name else str(first), nFilesPerJob=1, nFiles=2)
    assert inputs(jedi) == [["b"], ["d"]]


def test_a_task_that_is_not_there_is_named(jedi: Jedi) -> None:
    jedi.store("user.alice.input", "a")
    start(jedi, "skip_files")
    assert jedi.task().status == "tobroken"
    assert "there is no task 10000001, 10000002" in jedi.task().error_dialog


# --outputs 'regex|…'


@on_both_databases
def test_an_output_by_pattern_gets_a_name(jedi: Jedi) -> None:
    start(jedi, "regex")
    name = f"user.alice.{jedi.jeditaskid}._000001"
    assert outputs(jedi)[:2] == [("output", f"{name}.0.tgz", False), ("output", f"{name}.out.txt", False)]
    assert table(lines(jedi)[0]) == {"regex|z.*": f"{name}.0.tgz", "out.txt": f"{name}.out.txt"}


def test_an_output_by_pattern_that_may_be_missing(jedi: Jedi) -> None:
    start(jedi, "regex_optional")
    assert outputs(jedi)[0] == ("output", f"user.alice.{jedi.jeditaskid}._000001.0.tgz", True)


def test_outputs_by_pattern_are_merged_like_others(jedi: Jedi) -> None:
    start(jedi, "regex_merged")
    name = f"panda.um.user.alice.{jedi.jeditaskid}._000001"
    assert table(lines(jedi)[0]) == {"regex|z\\d+.txt": f"{name}.0.tgz", "*.log": f"{name}.XYZ.log.tgz"}
    assert [lfn for kind, lfn, _ in outputs(jedi) if kind == "tmpl_output"] == [f"{name}.0.tgz", f"{name}.XYZ.log.tgz"]


def test_what_may_be_missing_is_said_by_its_name() -> None:
    items = [
        {"type": "template", "param_type": "output", "value": "regex|a", "dataset": "user.alice.b_0/", "hidden": True},
        {"type": "constant", "value": "--allowNoOutput=regex|a,other"},
        {"type": "constant", "value": "-o \"{'regex|a': 'regex|a'\""},
    ]
    parameters = TaskParameters.parse(captured("regex", taskName="user.alice.b/", jobParameters=items))
    name = "user.alice.$JEDITASKID._${SN/P}.0.tgz"
    assert [item.value for item in parameters.job_parameters] == [
        name,
        f"--allowNoOutput={name},other",
        items[2]["value"],
    ]


# --nEventsPerJob, --nEventsPerFile, --nEvents, --skipEmptyInput


def by_events(jedi: Jedi, name: str, **changes: Any) -> list[str]:
    """The jobs of a task over files of 10 events each: their inputs and their MAXEVENTS."""
    jedi.store("user.alice.input", *(f"f{n}" for n in range(5)))
    counted = {"type": "template", "param_type": "number", "value": "${MAXEVENTS}"}
    given = captured(name, **changes)
    start(jedi, name, **{**changes, "jobParameters": [*given["jobParameters"], counted]})
    told = zip(inputs(jedi), lines(jedi), strict=True)
    return [f"{','.join(names)}:{line.rpartition(' ')[2]}" for names, line in told]


def test_events_of_a_file_as_the_user_says(jedi: Jedi) -> None:
    """`--nEventsPerFile 100 --nEventsPerJob 200 --nJobs 3`"""
    assert by_events(jedi, "events_per_file") == ["f0,f1:200", "f2,f3:200", "f4:100"]


def test_so_many_files_as_make_the_events(jedi: Jedi) -> None:
    changes = {"nEvents": 250, "nFiles": None, "nFilesPerJob": None}
    assert by_events(jedi, "events_per_file", **changes) == ["f0,f1:200", "f2:100"]


def test_events_of_a_file_as_the_catalogue_says(jedi: Jedi) -> None:
    """`--nEventsPerJob 25`: files of 10 events are not cut."""
    assert by_events(jedi, "real_events", nEventsPerJob=25) == ["f0,f1:20", "f2,f3:20", "f4:10"]


def test_no_more_files_than_the_events_need(jedi: Jedi) -> None:
    assert by_events(jedi, "n_events", nEvents=25) == ["f0,f1,f2:-1"]


@pytest.mark.parametrize(
    ("name", "changes", "n_events", "what"),
    [
        ("real_events", {"nEventsPerJob": 9}, 10, "9 is less than f2 has"),
        ("real_events", {}, None, "does not say how many events f0 has"),
        ("n_events", {}, None, "does not say how many events f0 has"),
    ],
)
def test_files_that_would_have_to_be_cut_or_counted(
    jedi: Jedi, name: str, changes: dict[str, Any], n_events: int | None, what: str
) -> None:
    """A clear word, and no job that would leave events out."""
    jedi.store("user.alice.input", "f0", "f1", "f2", n_events=n_events)
    start(jedi, name, **changes)
    assert jedi.task().status == "tobroken"
    assert what in jedi.task().error_dialog
    assert jedi.jobs() == {}


def test_a_job_of_less_than_a_file_is_refused() -> None:
    with pytest.raises(Invalid, match="nEventsPerJob: 10 is no multiple of nEventsPerFile"):
        TaskParameters.parse(captured("events_per_file", nEventsPerJob=10))


def test_empty_files_are_passed_over(jedi: Jedi) -> None:
    jedi.store("user.alice.input", "empty", n_events=0)
    jedi.store("user.alice.input", "unknown", n_events=None)
    jedi.store("user.alice.input", "full")
    start(jedi, "skip_empty")
    assert inputs(jedi) == [["full", "unknown"]]


def test_files_are_chosen_by_pattern_place_and_number(jedi: Jedi) -> None:
    """`--match 'a.*' --antiMatch 'b.*' --nSkipFiles 2 --nFiles 4`"""
    jedi.store("user.alice.input", *(f"a.{n}" for n in range(9)), "b.1", "c", "a.log.tgz")
    start(jedi, "chosen_files")
    assert inputs(jedi) == [["a.2", "a.3", "a.4", "a.5"]]


# --addNthFieldOfInDSToLFN, --addNthFieldOfInFileToLFN


@pytest.mark.parametrize(("name", "field"), [("field_of_dataset", "alice"), ("field_of_file", "phys")])
def test_a_field_of_the_input_in_the_output(jedi: Jedi, name: str, field: str) -> None:
    jedi.store("user.alice.input", "data.phys.root")
    start(jedi, name)
    assert outputs(jedi)[0][1] == f"user.alice.{field}.{jedi.jeditaskid}._000001.out.txt"


def test_a_field_of_several_datasets_is_refused() -> None:
    given = captured("field_of_dataset")
    for item in given["jobParameters"]:
        if item.get("param_type") == "input":
            item["dataset"] = "user.alice.a,user.alice.b"
    with pytest.raises(Invalid, match=r"addNthFieldToLFN: .* several datasets"):
        TaskParameters.parse(given)


# --debugMode


@pytest.mark.parametrize("wanted", [True, None])
def test_jobs_are_told_to_show_what_they_print(jedi: Jedi, wanted: bool | None) -> None:
    jedi.store("user.alice.input", "a")
    start(jedi, "skip_empty", debugMode=wanted)
    assert [job.command_to_pilot for job in jedi.jobs().values()] == ["debug" if wanted else None]
