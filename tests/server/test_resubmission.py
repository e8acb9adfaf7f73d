"""A task that is submitted again, and commands that bring it back: the server's word and what JEDI then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.jedi.agents.task_commando import TaskCommando
from bamboo.jedi.context import Context
from bamboo.plugins.manager import Plugins
from bamboo.sql import datasets, files, queues, tasks
from bamboo.sql.tables import commands
from bamboo.sql.tables import files as file_table

CAPTURES = Path(__file__).parent / "captures"


def captured(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURES / "datasets.json").read_text())
    given = {**body["task_parameters"], "uniqueTaskName": True, **changes}
    return {**body, "task_parameters": {key: value for key, value in given.items() if value is not None}}


@pytest.fixture
def commando(engine: sa.Engine, clock: ManualClock, settings: Settings) -> TaskCommando:
    return TaskCommando(Context(engine, clock, settings, Plugins(settings, engine, clock)))


def set_state(engine: sa.Engine, jeditaskid: int, state: str) -> None:
    with engine.begin() as tx:
        tasks.update_task(tx, jeditaskid, status=state)


def give_inputs(engine: sa.Engine, clock: ManualClock, jeditaskid: int, **states: dict[str, Any]) -> None:
    """Input files by name, with the columns given."""
    with engine.begin() as tx:
        row = {"type": "input", "dataset_name": "d", "stream_name": "IN", "is_master": True, "selection": {}}
        datasets.insert_datasets(tx, [{"jeditaskid": jeditaskid, **row}], now=clock())
        (dataset,) = datasets.inputs(tx, jeditaskid)
        files.insert_new(tx, jeditaskid, dataset.datasetid, [{"lfn": name, "url": "file:///x"} for name in states])
        for name, columns in states.items():
            tx.execute(sa.update(file_table).where(file_table.c.lfn == name).values(columns))
        n_failed = sum(columns["status"] == "failed" for columns in states.values())
        n_used = sum(columns["status"] in ("failed", "finished") for columns in states.values())
        datasets.update_dataset(
            tx, dataset.datasetid, n_files=len(states), n_files_failed=n_failed, n_files_used=n_used,
            n_files_finished=n_used - n_failed,
        )  # fmt: skip


def inputs(engine: sa.Engine) -> dict[str, tuple[str, int, int]]:
    with engine.begin() as tx:
        return {
            row.lfn: (row.status, row.failed_attempts, row.max_attempt) for row in tx.execute(sa.select(file_table))
        }


@pytest.mark.parametrize("state", ["finished", "failed", "aborted", "done", "exhausted"])
def test_a_task_that_is_over_runs_again(
    api: Any, engine: sa.Engine, clock: ManualClock, commando: TaskCommando, state: str
) -> None:
    first = api.post("task/submit", captured())["data"]
    set_state(engine, first, state)
    give_inputs(engine, clock, first, bad={"status": "failed", "failed_attempts": 3}, good={"status": "finished"})
    with engine.begin() as tx:
        queues.set_queue(tx, "SITE_B", {}, now=clock())
    again = captured(nFilesPerJob=5, site="SITE_B", cliParams="prun again", taskType="anal", nEvents=None)
    answer = api.post("task/submit", again, Idempotency_Key="k2")
    assert answer["success"] and answer["data"] == first
    assert answer["message"] == (
        f"reactivation accepted. jediTaskID={first} (currently in {state} state) will be re-executed"
        " with old and/or new input"
    )
    assert api.post("task/submit", again)["data"] == first  # twice is once
    with engine.begin() as tx:
        (command,) = tx.execute(sa.select(commands)).all()
    assert command.command == "incexec"
    assert command.parameters["new_parameters"] == {"nFilesPerJob": 5, "site": "SITE_B", "cliParams": "prun again"}
    assert api.get("task/get_detailed_info", task_id=first)["data"]["pendingCommands"] == ["incexec"]
    assert commando.run_once().done == 1
    assert api.get("task/get_detailed_info", task_id=first)["data"]["pendingCommands"] == []
    with engine.begin() as tx:
        task, stored = tasks.get_task(tx, first), tasks.get_parameters(tx, first)
        wrong = datasets.recount(tx, first)
    assert (task.status, task.site) == ("rerefine", "SITE_B")
    assert stored["nFilesPerJob"] == 5 and stored["userName"] == "alice"
    assert inputs(engine) == {"bad": ("ready", 0, 3), "good": ("finished", 0, 3)}
    assert not {name for counters in wrong.values() for name in counters} & {"n_files_failed", "n_files_used"}
    set_state(engine, first, "running")
    assert api.post("task/submit", again)["data"] == 2
    assert api.post("task/submit", again, Idempotency_Key="k2")["data"] == first


def test_the_sandbox_may_change(api: Any, engine: sa.Engine, commando: TaskCommando) -> None:
    first = api.post("task/submit", captured())["data"]
    set_state(engine, first, "finished")
    api.post("task/submit", captured(fixedSandbox="jobO.new.tar.gz", sourceURL="http://other:1"))
    assert commando.run_once().done == 1
    with engine.begin() as tx:
        stored = tasks.get_parameters(tx, first)
    archives = [item["value"] for item in stored["jobParameters"] if str(item.get("value", "")).startswith("-a ")]
    assert archives == ["-a jobO.new.tar.gz"] and stored["sourceURL"] == "http://other:1"


def test_ordinary_users_have_one_priority(api: Any, engine: sa.Engine) -> None:
    first = api.post("task/submit", captured(taskPriority=5000, userName="root"))["data"]
    with engine.begin() as tx:
        task, stored = tasks.get_task(tx, first), tasks.get_parameters(tx, first)
    assert (task.task_priority, task.user_name) == (1000, "alice")
    assert (stored["taskPriority"], stored["userName"]) == (1000, "alice")


def test_retry_of_an_active_task(api: Any, engine: sa.Engine, clock: ManualClock, commando: TaskCommando) -> None:
    """PanDA's code 5: the task goes on, and what has failed gets all its attempts again."""
    task_id = api.post("task/submit", captured())["data"]
    set_state(engine, task_id, "running")
    give_inputs(engine, clock, task_id, bad={"status": "failed", "failed_attempts": 3}, good={"status": "ready"})
    assert api.post("task/retry", {"task_id": task_id})["data"] == 0
    assert api.post("task/retry", {"task_id": task_id, "new_parameters": {"nFilesPerJob": 1}})["data"] == 3
    assert commando.run_once().done == 2
    assert inputs(engine) == {"bad": ("ready", 0, 3), "good": ("ready", 0, 3)}
    assert api.get("task/get_status", task_id=task_id)["data"] == "running"


def test_more_attempts(api: Any, engine: sa.Engine, clock: ManualClock, commando: TaskCommando) -> None:
    task_id = api.post("task/submit", captured())["data"]
    set_state(engine, task_id, "running")
    give_inputs(
        engine,
        clock,
        task_id,
        bad={"status": "failed", "failed_attempts": 3},
        good={"status": "finished"},
        next={"status": "ready", "failed_attempts": 1},
    )
    assert api.post("task/increase_attempts", {"task_id": task_id, "increase": 2})["success"]
    assert commando.run_once().done == 1
    assert inputs(engine) == {"bad": ("ready", 3, 5), "good": ("finished", 0, 3), "next": ("ready", 1, 5)}
    assert api.post("task/increase_attempts", {"task_id": task_id, "increase": 0})["status"] == 422
    set_state(engine, task_id, "done")
    assert api.post("task/increase_attempts", {"task_id": task_id, "increase": 2})["data"] == 4


def test_reactivate(api: Any, engine: sa.Engine, clock: ManualClock, commando: TaskCommando) -> None:
    task_id = api.post("task/submit", captured())["data"]
    set_state(engine, task_id, "finished")
    give_inputs(engine, clock, task_id, bad={"status": "failed", "failed_attempts": 3})
    assert api.post("task/reactivate", {"task_id": task_id})["success"]
    assert commando.run_once().done == 1
    assert inputs(engine) == {"bad": ("ready", 0, 3)}
    assert api.get("task/get_status", task_id=task_id)["data"] == "rerefine"
