"""The built-in rules, as functions of what they are given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import task_view

from bamboo.core.gates import pass_through
from bamboo.core.states import TaskState
from bamboo.plugins.contracts import DatasetView, QueueView, StorageView, Tally, TaskView
from bamboo.plugins.generic.job_broker import GATES, Edit, GenericJobBroker
from bamboo.plugins.generic.post_processor import GenericPostProcessor
from bamboo.plugins.generic.pseudo import PseudoInputs
from bamboo.plugins.generic.refiner import GenericTaskRefiner
from bamboo.plugins.generic.task_broker import GenericTaskBroker
from bamboo.plugins.grid import Grid

#: Nothing is known of the grid.
GRID = Grid(now=datetime(2026, 1, 1, tzinfo=UTC))


def task(**changes: Any) -> TaskView:
    asked = {"ram_count_mb": 2000, "work_disk_count_mb": 100, "max_walltime_seconds": 3600}
    return task_view(**{"status": "ready", **asked, **changes})


def queue(name: str = "Q", **changes: Any) -> QueueView:
    values: dict[str, Any] = {
        "queue": name,
        "site": f"{name}_SITE",
        "vo": None,
        "status": "online",
        "state": "ACTIVE",
        "type": "unified",
        "core_count": 0,
        "max_rss_mb": 0,
        "max_wdir_mb": 0,
        "max_time_seconds": 0,
        "storage": "DISK",
        "attributes": {},
    }
    return QueueView(**{**values, **changes})


@pytest.mark.parametrize(
    ("reason", "changes", "wanted"),
    [
        ("another queue was asked for", {}, {"site": "ELSEWHERE"}),
        ("another queue was asked for", {}, {"split_rule": {"includedSite": ["ELSE*"]}}),
        ("excluded by the user", {}, {"split_rule": {"excludedSite": ["Q_*"]}}),
        ("not active", {"state": "INACTIVE"}, {}),
        ("not online", {"status": "brokeroff"}, {}),
        ("serves another organisation", {"vo": "atlas"}, {}),
        ("too few cores", {"core_count": 4}, {"core_count": 8}),
        ("too little memory", {"max_rss_mb": 1999}, {}),
        ("too little scratch disk", {"max_wdir_mb": 99}, {}),
        ("too short a time limit", {"max_time_seconds": 3599}, {}),
        ("no storage for the outputs", {"storage": None}, {}),
    ],
)
def test_a_queue_is_rejected_for_one_reason_that_is_told(
    reason: str, changes: dict[str, Any], wanted: dict[str, Any]
) -> None:
    fits = queue("ELSEWHERE" if "another" in reason else "FITS", core_count=8)
    choice = GenericJobBroker().choose_queue(task(**wanted), [queue(**changes), fits], GRID)
    assert choice is not None
    assert choice.chosen == [fits.queue]
    assert {why: list(names) for why, names in choice.rejected.items() if names} == {reason: ["Q"]}


@pytest.mark.parametrize(
    ("gate", "changes", "columns"),
    [
        ("not active", {"state": "INACTIVE"}, {"state": "state"}),
        ("not online", {"status": "brokeroff"}, {"status": "status"}),
        ("serves another organisation", {"vo": "atlas"}, {"vo": "vo"}),
        ("too few cores", {"core_count": 4}, {"corecount": "core_count"}),
        ("too little memory", {"max_rss_mb": 1999}, {"maxrss": "max_rss_mb"}),
        ("too little scratch disk", {"max_wdir_mb": 99}, {"maxwdir": "max_wdir_mb"}),
        ("too short a time limit", {"max_time_seconds": 3599}, {"maxtime": "max_time_seconds"}),
    ],
)
def test_the_change_that_is_named_lets_the_queue_through(
    gate: str, changes: dict[str, Any], columns: dict[str, str]
) -> None:
    passage = pass_through(GATES, task(core_count=8), [queue(**{"core_count": 8, **changes})], lambda one: one.queue)
    ((stopped_by, refusal),) = passage.refused.values()
    assert isinstance(refusal, Edit)
    edited = {**changes, **{columns[key]: value for key, value in refusal.edits.items()}}
    assert stopped_by == gate
    assert refusal.change in str(passage.why())
    assert pass_through(GATES, task(core_count=8), [queue(**{"core_count": 8, **edited})], str).left


def test_a_storage_that_does_not_exist_is_none() -> None:
    """Its jobs failed in the pilot, which looked for the storage at the end."""
    known = replace(GRID, storages={"DISK": StorageView(storage="DISK", site="S", state="ACTIVE", free_bytes=None)})
    asked = [queue("GOOD", storage="DISK"), queue("BAD", storage="NOSUCH")]
    choice = GenericJobBroker().choose_queue(task(), asked, known)
    assert choice is not None and choice.chosen == ["GOOD"]
    assert choice.rejected["no storage for the outputs"] == ["BAD"]
    assert GenericJobBroker().choose_queue(task(), asked, GRID).chosen == ["BAD", "GOOD"]  # type: ignore[union-attr]


def test_every_gate_was_tried() -> None:
    assert len(GATES) == 10


def test_a_test_queue_is_taken_only_when_it_is_named() -> None:
    broker = GenericJobBroker()
    given_queue = queue(status="test")
    assert broker.choose_queue(task(), [given_queue], GRID).chosen == []  # type: ignore[union-attr]
    assert broker.choose_queue(task(site="Q"), [given_queue], GRID).chosen == ["Q"]  # type: ignore[union-attr]


def test_blanks_between_the_names_of_queues_mean_nothing() -> None:
    """`--site "A, Q"` never found Q."""
    broker = GenericJobBroker()
    assert broker.choose_queue(task(site="A, Q"), [queue()], GRID).chosen == ["Q"]  # type: ignore[union-attr]


def test_the_least_crowded_queue_comes_first() -> None:
    crowded = queue("A", jobs={"activated": 100, "running": 9})
    free = queue("B", jobs={"activated": 5, "running": 9})
    assert GenericJobBroker().choose_queue(task(), [crowded, free], GRID).chosen == ["B", "A"]  # type: ignore[union-attr]


def test_the_storage_with_most_room_comes_first() -> None:
    storages = [
        StorageView(storage="A", site="S", state="ACTIVE", free_bytes=5),
        StorageView(storage="B", site="S", state="ACTIVE", free_bytes=50),
        StorageView(storage="C", site="S", state="ACTIVE", free_bytes=None),
        StorageView(storage="D", site="S", state="DOWN", free_bytes=500),
    ]
    choice = GenericTaskBroker().choose_nucleus(task(), storages)
    assert choice is not None
    assert (choice.chosen, choice.rejected) == (["B", "A", "C"], {"storage is not active": ["D"]})


@given(n_files=st.integers(1, 500), limit=st.integers(1, 100), offset=st.integers(0, 50))
def test_pseudo_inputs_come_page_by_page_each_once(n_files: int, limit: int, offset: int) -> None:
    dataset = DatasetView(
        datasetid=1,
        jeditaskid=1,
        type="pseudo_input",
        dataset_name="p",
        stream_name="P",
        scope=None,
        selection={"n_files": n_files, "offset": offset},
    )
    lfns: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = PseudoInputs().list_contents(dataset, cursor, limit)
        assert page is not None and 0 < len(page.files) <= limit
        lfns += [entry["lfn"] for entry in page.files]
        cursor = page.cursor
    assert [int(lfn) for lfn in lfns] == list(range(offset, offset + n_files))


@pytest.mark.parametrize(
    ("tally", "state"),
    [
        (Tally(3, 3, 0), TaskState.DONE),
        (Tally(3, 2, 1), TaskState.FINISHED),
        (Tally(3, 0, 3), TaskState.FAILED),
        (Tally(3, 0, 3, n_partial=1), TaskState.FINISHED),
        (Tally(0, 0, 0), TaskState.FAILED),
    ],
)
def test_how_a_task_ends(tally: Tally, state: TaskState) -> None:
    verdict = GenericPostProcessor().post_process(task(), tally)
    assert verdict is not None and verdict.state is state


def parameters(**changes: Any) -> dict[str, Any]:
    return {
        "taskName": "user.alice.a/",
        "vo": "wlcg",
        "prodSourceLabel": "user",
        "jobParameters": [
            {"type": "template", "param_type": "input", "value": "${IN}", "dataset": "user.alice.in/,user.alice.more"},
            {
                "type": "template",
                "param_type": "output",
                "value": "x.${SN}",
                "dataset": "user.alice.a_x/",
                "hidden": True,
            },
        ],
        **changes,
    }


def test_a_task_is_refined_to_columns_and_datasets() -> None:
    given_parameters = parameters(
        coreCount=4,
        ramCount=2000,
        ramCountUnit="MBPerCore",
        maxWalltime=2,
        workDiskCount=3,
        workDiskUnit="GB",
        nFilesPerJob=7,
    )
    refined = GenericTaskRefiner().refine_task(given_parameters, "alice")
    assert refined is not None
    expected = {"core_count": 4, "ram_count_mb": 8000, "max_walltime_seconds": 7200, "work_disk_count_mb": 3072}
    assert {key: refined.columns[key] for key in expected} == expected
    assert refined.columns["split_rule"]["nFilesPerJob"] == 7
    source, output = refined.datasets
    assert (source.type, source.dataset_name, source.stream_name, source.is_master) == (
        "input",
        "user.alice.in,user.alice.more",
        "IN",
        True,
    )
    assert (output.type, output.dataset_name, output.lfn_template, output.scope) == (
        "output",
        "user.alice.a_x",
        "x.${SN}",
        "user.alice",
    )


def test_what_sizes_are_reckoned_from_is_refined_in_its_units() -> None:
    given_parameters = parameters(
        cpuTime=250, cpuTimeUnit="mHS06sPerEventFixed", baseTime=60, outDiskCount=3, outDiskUnit="MBFixed",
        baseRamCount=500, ramCount=1000, coreCount=2, ramCountUnit="MBPerCoreFixed", ioIntensity=5, diskIO=6,
    )  # fmt: skip
    refined = GenericTaskRefiner().refine_task(given_parameters, "alice")
    assert refined is not None
    expected = {
        "cpu_time": 250.0, "cpu_time_unit": "mHS06sPerEventFixed", "cpu_efficiency": 90.0, "base_walltime_seconds": 60,
        "out_disk_count_kb": 3072, "out_disk_unit": "kBFixed", "base_ram_count_mb": 500, "ram_count_mb": 2500,
        "ram_count_unit": "MBPerCoreFixed", "io_intensity": 5, "disk_io": 6, "min_cpu_efficiency": 0.0,
    }  # fmt: skip
    assert {key: refined.columns[key] for key in expected} == expected
    none = GenericTaskRefiner().refine_task(parameters(cpuEfficiency=0, outDiskCount=1), "alice")
    assert none is not None and (none.columns["cpu_efficiency"], none.columns["out_disk_count_kb"]) == (0, 1)


def test_a_task_without_input_has_a_pseudo_input_for_each_job() -> None:
    given_parameters = parameters(noInput=True, nEvents=10, nEventsPerJob=4, jobParameters=[])
    refined = GenericTaskRefiner().refine_task(given_parameters, "alice")
    assert refined is not None
    assert (refined.datasets[0].type, refined.datasets[0].selection) == ("pseudo_input", {"n_files": 3})
    assert refined.columns["split_rule"]["nFilesPerJob"] == 1


def test_further_inputs_are_secondary() -> None:
    given_parameters = parameters()
    given_parameters["jobParameters"].append(
        {"type": "template", "param_type": "input", "value": "${IN2}", "dataset": "user.alice.in2", "nFiles": 7}
    )
    refined = GenericTaskRefiner().refine_task(given_parameters, "alice")
    assert refined is not None
    inputs = [plan for plan in refined.datasets if plan.type == "input"]
    assert [(plan.stream_name, plan.is_master) for plan in inputs] == [("IN", True), ("IN2", False)]
    assert inputs[1].selection["n_files"] == 7
