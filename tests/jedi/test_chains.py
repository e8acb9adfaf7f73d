"""Chains of tasks: each link reads what the one before makes (manual ch. 4.1), with pilots that are played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Retriable
from bamboo.plugins.contracts import Contents, DatasetView, PluginContext
from bamboo.plugins.generic.catalogue import LocalCatalogue
from bamboo.plugins.hookspecs import hookimpl
from bamboo.sql import catalogue, tasks
from bamboo.tests.jedi.rounds import on_both_databases
from bamboo.tests.jedi.test_side_jobs import Played, submit_child


@pytest.fixture
def played(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Played:
    return Played(engine, clock, tmp_path)


def submit_link(played: Played, name: str, parent: int, reads: str, **changes: Any) -> int:
    """A task of a chain, which writes `user.alice.<name>_y`."""
    pieces = [
        {"type": "template", "param_type": "input", "value": "${IN/T}", "dataset": reads},
        {
            "type": "template",
            "param_type": "output",
            "value": f"user.alice.{name}.$JEDITASKID._${{SN/P}}.y",
            "dataset": f"user.alice.{name}_y/",
            "hidden": True,
        },
    ]
    wanted = {"taskName": f"user.alice.{name}", "jobParameters": pieces, "nFilesPerJob": 1, **changes}
    return submit_child(played, parent, **wanted)


def run_all(played: Played, among: dict[int, str], state: str = "finished") -> list[str]:
    """Have pilots run what is queued; gives the links of the chain that the jobs were of."""
    jobs = played.claim()
    for job in jobs:
        played.report(job, state)
    played.rounds(4, seconds=0)
    return sorted(among[job["taskID"]] for job in jobs)


@on_both_databases
def test_a_chain_is_worked_on_as_data_come(played: Played) -> None:
    """Each link begins with the first file of the one before, and the last one ends last."""
    parent = played.submit(nEvents=2)
    child = submit_link(played, "child", parent, "user.alice.t_x/", noWaitParent=True)
    grandchild = submit_link(played, "grandchild", child, "user.alice.child_y/", noWaitParent=True)
    links = {parent: "parent", child: "child", grandchild: "grandchild"}
    played.rounds()
    first, second = played.claim()
    played.report(first)
    played.rounds()
    assert run_all(played, links) == ["child"]
    played.rounds()
    assert run_all(played, links) == ["grandchild"]
    assert [played.status(task) for task in links] == ["running", "running", "running"]
    played.report(second)
    played.rounds()
    assert played.status(parent) == "done"
    assert run_all(played, links) == ["child"]
    played.rounds()
    assert (played.status(child), played.status(grandchild)) == ("done", "running")
    assert run_all(played, links) == ["grandchild"]
    assert played.status(grandchild) == "done"
    assert len(played.lfns("user.alice.grandchild_y")) == 2


@on_both_databases
def test_a_chain_whose_links_wait_goes_from_end_to_end(played: Played) -> None:
    parent = played.submit(nEvents=2)
    child = submit_link(played, "child", parent, "user.alice.t_x/")
    grandchild = submit_link(played, "grandchild", child, "user.alice.child_y/")
    links = {parent: "parent", child: "child", grandchild: "grandchild"}
    played.rounds()
    for link in links.values():
        assert run_all(played, links) == [link, link]
    assert [played.status(task) for task in links] == ["done", "done", "done"]


def test_a_chain_breaks_from_where_nothing_was_made(played: Played) -> None:
    parent = played.submit(nEvents=1, maxAttempt=1)
    child = submit_link(played, "child", parent, "user.alice.t_x/", noWaitParent=True)
    grandchild = submit_link(played, "grandchild", child, "user.alice.child_y/", noWaitParent=True)
    played.rounds()
    assert run_all(played, {parent: "parent"}, "failed") == ["parent"]
    played.rounds(4)
    assert [played.status(task) for task in (parent, child, grandchild)] == ["failed", "broken", "broken"]


def test_a_chain_goes_on_with_what_was_added_to_its_beginning(played: Played) -> None:
    """`reload_input` of each link looks at what the one before has made since (manual ch. 7.1.2, incexec)."""
    with played.engine.begin() as tx:
        made = catalogue.ensure_dataset(tx, "user.alice.grows", user_name="alice", now=played.clock())
        row = {"url": "file:///f", "size_bytes": 1, "adler32": "00000001"}
        catalogue.add_files(tx, made, [{"lfn": "f1", **row}], now=played.clock())
    parent = submit_link(played, "first", 0, "user.alice.grows/")
    child = submit_link(played, "child", parent, "user.alice.first_y/")
    links = {parent: "parent", child: "child"}
    played.rounds()
    assert [run_all(played, links), run_all(played, links)] == [["parent"], ["child"]]
    with played.engine.begin() as tx:
        catalogue.add_files(tx, made, [{"lfn": "f2", **row}], now=played.clock())
    for task, link in links.items():
        assert played.post("task/reload_input", {"task_id": task})["success"]
        played.rounds()
        assert run_all(played, links) == [link]
    assert [played.status(task) for task in links] == ["done", "done"]
    assert len(played.lfns("user.alice.child_y")) == 2


class Away:
    """A catalogue that is away for as long as the test says."""

    is_away = False

    def __init__(self, context: PluginContext) -> None:
        self._good = LocalCatalogue(context)

    @hookimpl
    def list_contents(self, dataset: DatasetView, cursor: str, limit: int) -> Contents | None:
        if self.is_away:
            raise Retriable("the catalogue is away")
        return self._good.list_contents(dataset, cursor, limit)


@on_both_databases
@pytest.mark.parametrize("n_made", [0, 1])
def test_a_child_is_fed_again_after_a_lookup_that_failed(
    engine: sa.Engine, clock: ManualClock, tmp_path: Path, strangers: Callable[[type], str], n_made: int
) -> None:
    played = Played(engine, clock, tmp_path, ddm={"modConfig": f"::{strangers(Away)}"})
    parent = played.submit(nEvents=2)
    child = submit_link(played, "child", parent, "user.alice.t_x/", noWaitParent=True)
    links = {parent: "parent", child: "child"}
    played.rounds()
    jobs = played.claim()
    for job in jobs[:n_made]:
        played.report(job)
        played.rounds()
        assert run_all(played, links) == ["child"]
    Away.is_away = True
    played.rounds(2)
    assert played.status(child) == "pending"
    Away.is_away = False
    for job in jobs[n_made:]:
        played.report(job)
    played.rounds()
    assert run_all(played, links) == ["child"] * (2 - n_made)
    assert (played.status(parent), played.status(child)) == ("done", "done")


def test_a_child_that_nothing_holds_up_any_more_says_so(
    engine: sa.Engine, clock: ManualClock, tmp_path: Path, strangers: Callable[[type], str]
) -> None:
    played = Played(engine, clock, tmp_path, ddm={"modConfig": f"::{strangers(Away)}"})
    child = submit_link(played, "child", played.submit(nEvents=2), "user.alice.t_x/", noWaitParent=True)
    played.rounds()
    Away.is_away = True
    played.rounds(2)
    Away.is_away = False
    played.rounds(2)
    with engine.connect() as tx:
        task = tasks.get_task(tx, child)
    assert (task.status, task.error_dialog) == ("ready", None)


@on_both_databases
@pytest.mark.parametrize("waits", [True, False])
def test_what_a_parent_made_before_it_was_killed_is_read(played: Played, waits: bool) -> None:
    parent = played.submit(nEvents=2)
    child = submit_link(played, "child", parent, "user.alice.t_x/", **({} if waits else {"noWaitParent": True}))
    played.rounds()
    made, other = played.claim()
    played.report(made)
    played.rounds()
    played.post("task/kill", {"task_id": parent})
    played.rounds(1)
    played.report(other, "failed")
    played.rounds()
    assert run_all(played, {child: "child"}) == ["child"]
    assert (played.status(parent), played.status(child)) == ("aborted", "done")


def test_why_a_child_waits(played: Played) -> None:
    parent = played.submit(nEvents=3)
    waits = submit_link(played, "waits", parent, "user.alice.t_x/")
    grows = submit_link(played, "grows", parent, "user.alice.t_x/", noWaitParent=True, nFilesPerJob=2)
    played.rounds()
    played.report(played.claim(1)[0])
    played.rounds()
    is_running = f"task {parent} (user.alice.t/) is running"
    why = played.why(waits)
    assert (why["stopped_by"], why["parent"]) == ("parent", f"{is_running}: the task waits for its end")
    why = played.why(grows)
    assert (why["stopped_by"], why["parent"]) == ("inputs", f"{is_running}: its outputs are read as they are made")
    assert "1 more for a job of 2, which its parent is to make" in why["inputs"]
    assert "broker" not in why


def test_why_a_task_waits_for_its_input(played: Played) -> None:
    task = submit_link(played, "early", 0, "user.alice.nothere/", waitInput=1)
    played.rounds(1)
    why = played.why(task)
    assert why["stopped_by"] == "inputs"
    assert "there is no dataset user.alice.nothere" in why["inputs"]


def test_why_a_task_that_finishes_gets_no_more_jobs(played: Played) -> None:
    task = played.submit()
    played.rounds()
    job, *_ = played.claim(2)
    played.post("task/finish", {"task_id": task, "soft": True})
    played.rounds(1)
    played.report(job, "failed")
    played.rounds()
    why = played.why(task)
    assert "1 for new jobs, 2 in jobs; no more jobs are made of a finishing task" in why["inputs"]
    assert "broker" not in why
