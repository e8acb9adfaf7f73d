"""Submitting, looking at and commanding tasks: /api/v1/task/."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState, TaskState
from bamboo.sql import decisions, jobs, notifications, queues, tasks
from bamboo.sql.tables import commands, task_events
from bamboo.sql.tables import tasks as task_table

CAPTURES = Path(__file__).parent / "captures"


def captured(name: str = "hello", **changes: Any) -> dict[str, Any]:
    """A request of prun, with changed task parameters; None takes a key out."""
    body: dict[str, Any] = json.loads((CAPTURES / f"{name}.json").read_text())
    given = {**body["task_parameters"], **changes}
    return {**body, "task_parameters": {key: value for key, value in given.items() if value is not None}}


def of_bob(**changes: Any) -> dict[str, Any]:
    """The same request with bob's names for what it makes."""
    body: dict[str, Any] = json.loads(json.dumps(captured()).replace("user.alice.", "user.bob."))
    return {**body, "task_parameters": {**body["task_parameters"], **changes}}


def n_tasks(engine: sa.Engine) -> int:
    with engine.begin() as tx:
        return int(tx.execute(sa.select(sa.func.count()).select_from(task_table)).scalar_one())


def set_state(engine: sa.Engine, jeditaskid: int, state: str, **more: Any) -> None:
    with engine.begin() as tx:
        tasks.update_task(tx, jeditaskid, status=state, **more)


def queued(engine: sa.Engine) -> list[Any]:
    with engine.begin() as tx:
        return list(tx.execute(sa.select(commands.c.command, commands.c.parameters, commands.c.user_name)))


@pytest.mark.parametrize("name", ["hello", "datasets"])
def test_what_prun_sends_is_taken(api: Any, engine: sa.Engine, name: str) -> None:
    answer = api.post("task/submit", captured(name), X_Request_Id="my-request")
    task_id = answer["data"]
    assert answer == {"success": True, "message": f"succeeded. new jediTaskID={task_id}", "data": task_id}
    assert task_id >= 10_000_000
    assert api.get("task/get_status", task_id=task_id)["data"] == "registered"
    stored = api.get("task/get_task_parameters", task_id=task_id)["data"]
    added = {"userName": "alice", "taskType": "anal", "taskPriority": 1000}
    assert stored == {**captured(name)["task_parameters"], **added}
    with engine.begin() as tx:
        (event,) = tx.execute(sa.select(task_events)).all()
        task = tasks.get_task(tx, task_id)
    assert (event.new_status, event.actor, event.request_id) == ("registered", "alice", "my-request")
    assert (task.user_name, task.vo, task.prod_source_label, task.task_priority) == ("alice", "atlas", "user", 1000)


def test_all_faults_are_told_at_once_and_nothing_is_stored(api: Any, engine: sa.Engine) -> None:
    body = captured(taskNme="x", taskName=None, nEvents="many", coreCount=-1, tarBallViaDDM="a:b")
    body["task_parameters"]["jobParameters"][4]["value"] = "same.txt"
    body["task_parameters"]["jobParameters"][5]["value"] = "${NOBODY}"
    answer = api.post("task/submit", body)
    assert (answer["success"], answer["data"], answer["status"], answer["code"]) == (False, None, 422, "BAM-INPUT-001")
    faults = {fault["where"].removeprefix("task_parameters."): fault for fault in answer["errors"]}
    assert set(faults) == {
        "taskNme",
        "taskName",
        "nEvents",
        "coreCount",
        "tarBallViaDDM",
        "jobParameters[4].value",
        "jobParameters[5].value",
    }
    assert faults["taskNme"]["do"] == "did you mean 'taskName'?"
    assert "not supported yet" in faults["tarBallViaDDM"]["what"]
    assert n_tasks(engine) == 0


@pytest.mark.parametrize(
    "asked", [{"preproSpec": {"jobParameters": ""}}, {"hpoWorkflow": True}, {"tarBallViaDDM": "a:b"}]
)
def test_what_would_be_lost_silently_is_refused(api: Any, engine: sa.Engine, asked: dict[str, Any]) -> None:
    answer = api.post("task/submit", captured(**asked))
    assert not answer["success"] and "not supported yet" in answer["message"]
    assert n_tasks(engine) == 0


@pytest.mark.parametrize("name", ["build", "merge", "container"])
def test_builds_merges_and_containers_of_prun_are_taken(api: Any, engine: sa.Engine, name: str) -> None:
    answer = api.post("task/submit", captured(name))
    assert answer["success"], answer
    assert n_tasks(engine) == 1


def test_a_submission_sent_twice_is_one_task(api: Any, bob: Any, engine: sa.Engine) -> None:
    first = api.post("task/submit", captured(), Idempotency_Key="k")
    assert api.post("task/submit", captured(), Idempotency_Key="k") == first
    assert bob.post("task/submit", of_bob(), Idempotency_Key="k")["data"] != first["data"]
    assert n_tasks(engine) == 2
    assert api.post("task/submit", captured(), Idempotency_Key="a b")["status"] == 422


@pytest.mark.parametrize("key", [None, "same"])
def test_of_submissions_at_one_moment_one_is_entered(app: Any, engine: sa.Engine, key: str | None) -> None:
    start, answers = threading.Barrier(6), []

    def submit() -> None:
        client = app.test_client()
        start.wait(PATIENCE_SECONDS)
        headers = {"X-Bamboo-User": "alice", **({"Idempotency-Key": key} if key else {})}
        answers.append(client.post("/api/v1/task/submit", json=captured(), headers=headers).json)

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert n_tasks(engine) == 1
    assert sum(answer["success"] for answer in answers) == (6 if key else 1)


@pytest.mark.parametrize(
    ("state", "number"),
    [("registered", 2), ("running", 2), ("aborting", 2), ("prepared", 2)],
)
def test_a_unique_name_is_given_once(api: Any, bob: Any, engine: sa.Engine, state: str, number: int) -> None:
    first = api.post("task/submit", captured())["data"]
    set_state(engine, first, state)
    answer = api.post("task/submit", captured())
    assert not answer["success"]
    assert answer["data"] == number  # never 0, 3 or false: prun would read success
    assert f"jediTaskID={first}" in answer["message"] and f"bamboo task kill {first}" in answer["hint"]
    assert api.post("task/submit", captured(uniqueTaskName=False))["success"]
    assert bob.post("task/submit", of_bob(taskName="user.alice.a2/"))["success"]


def test_who_was_told_of_an_end_and_how(api: Any, bob: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    """Others see that somebody was told, and not at which address."""
    task_id = world.task()
    assert api.get("task/get_detailed_info", task_id=task_id)["data"]["notifications"] == []
    with engine.begin() as tx:
        for state in (TaskState.EXHAUSTED, TaskState.DONE):
            notifications.add(tx, task_id, state, "why", now=clock())
        first, second = notifications.claim(tx, until=clock() + timedelta(minutes=9), now=clock(), limit=9)
        notifications.settle(tx, first.notificationid, "told", "mailed to alice@example.org", now=clock())
        notifications.put_off(tx, second.notificationid, "no mail server", until=clock() + timedelta(minutes=2))
    at, later = ({"__datetime__": f"2026-01-01T00:0{minutes}:00+00:00"} for minutes in (0, 2))
    told = {"when": at, "state": "exhausted", "delivery": "told", "how": "mailed to alice@example.org", "attempts": 1}
    waiting = {"when": at, "state": "done", "delivery": "waiting", "how": "no mail server", "attempts": 1}
    mine = api.get("task/get_detailed_info", task_id=task_id)["data"]["notifications"]
    assert mine == [{**told, "nextTryAt": None, "toldAt": at}, {**waiting, "nextTryAt": later, "toldAt": None}]
    others = bob.get("task/get_detailed_info", task_id=task_id)["data"]["notifications"]
    assert others == [{**row, "how": None} for row in mine]


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"site": "NOWHERE"}, ["site"]),
        ({"site": "LOCAL,NOWHERE"}, ["site"]),
        ({"includedSite": ["LOCAL", "A", "B*"]}, ["includedSite", "includedSite"]),
        ({"site": "LOCAL"}, []),
        ({"site": "PLACE"}, []),
        ({"includedSite": "LOC*"}, []),
        ({"excludedSite": ["NOWHERE"]}, []),
    ],
)
def test_queues_and_sites_that_are_asked_for_must_be_there(
    api: Any, engine: sa.Engine, clock: ManualClock, changes: dict[str, Any], keys: list[str]
) -> None:
    """Only `why` told that a task waited for a queue that did not exist."""
    none_yet = api.post("task/submit", captured(site="LOCAL"))
    assert none_yet["errors"][0]["do"] == "there are no queues at all yet"
    with engine.begin() as tx:
        queues.set_queue(tx, "LOCAL", {"site": "PLACE"}, now=clock())
    answer = api.post("task/submit", captured(**changes))
    assert [fault["where"] for fault in answer.get("errors", ())] == [f"task_parameters.{key}" for key in keys]
    assert answer["success"] != bool(keys)
    assert api.post("task/submit", captured(site="LOCAI"))["errors"][0]["do"] == "did you mean 'LOCAL'?"


def test_a_retry_elsewhere_names_a_queue_that_is_there(api: Any, engine: sa.Engine) -> None:
    first = api.post("task/submit", captured())["data"]
    set_state(engine, first, "finished")
    answer = api.post("task/retry", {"task_id": first, "new_parameters": {"site": "NOWHERE"}})
    assert (answer["success"], answer["status"]) == (False, 422)
    assert "there is no queue and no site NOWHERE" in answer["message"]


def test_a_parent_must_exist(api: Any) -> None:
    answer = api.post("task/submit", {**captured(), "parent_tid": 5})
    assert [fault["where"] for fault in answer["errors"]] == ["parent_tid"]
    parent = api.post("task/submit", captured())["data"]
    assert api.post("task/submit", {**captured(taskName="other"), "parent_tid": parent})["success"]


def test_details_explain_the_state(api: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    task_id = world.task()
    ids = world.jobs(3, task=task_id)
    with engine.begin() as tx:
        failed = [jobs.ref(jobs.get_job(tx, pandaid)) for pandaid in ids[:2]]
        why = {"task_buffer_error_code": 100, "task_buffer_error_diag": "killed"}
        jobs.move_jobs(tx, failed, JobState.FAILED, actor="t", why="t", now=clock(), **why)
        decisions.record(tx, actor="broker", what="chose LOCAL", why={"fits": 1}, now=clock(), jeditaskid=task_id)
    info = api.get("task/get_detailed_info", task_id=task_id)["data"]
    assert (info["jediTaskID"], info["status"], info["superStatus"]) == (task_id, "registered", "registered")
    assert info["creationDate"] == {"__datetime__": "2026-01-01T00:00:00+00:00"}
    assert info["jobs"] == {"activated": 1, "failed": 2}
    assert [(row["type"], row["nFiles"]) for row in info["datasets"]] == [("output", 3), ("log", 3)]
    assert info["errors"] == [
        {
            "kind": "run",
            "source": "task_buffer",
            "code": 100,
            "diag": "killed",
            "who": "nobody",
            "meaning": "killed by a command",
            "count": 2,
            "example_job": ids[1],
        }
    ]
    assert [(row["what"], row["why"]) for row in info["decisions"]] == [("chose LOCAL", "fits: 1")]
    assert [(row["old"], row["new"]) for row in info["events"]] == [(None, "registered")]
    assert api.get("task/get_job_ids", task_id=task_id)["data"] == ids


def test_one_failure_is_told_once(api: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    """A stopped job had two errors, and two answers to who must act: nobody, and the user."""
    task_id = world.task()
    ids = world.jobs(4, task=task_id)
    stopped = {"pilot_error_code": 1201, "pilot_error_diag": "TERM", "trans_exit_code": 143}
    failed = {"pilot_error_code": 1305, "pilot_error_diag": "exit code 146", "trans_exit_code": 146}
    with engine.begin() as tx:
        for pandaid, errors in zip(ids, (stopped, stopped, failed, {"trans_exit_code": 3}), strict=True):
            job = [jobs.ref(jobs.get_job(tx, pandaid))]
            jobs.move_jobs(tx, job, JobState.FAILED, actor="t", why="t", now=clock(), **errors)
    told = api.get("task/get_detailed_info", task_id=task_id)["data"]["errors"]
    assert sorted((row["source"], row["code"], row["who"], row["count"]) for row in told) == [
        ("pilot", 1201, "nobody", 2),
        ("pilot", 1305, "operator", 1),  # 146: no sandbox
        ("trans", 3, "user", 1),
    ]
    assert ["could not be downloaded" in row["meaning"] for row in told if row["code"] == 1305] == [True]
    whole = api.get("job/get_detailed_info", job_id=ids[0])["data"]["errors"]
    assert [(row["code"], row["who"]) for row in whole] == [(1201, "nobody"), (143, "nobody")]


def test_failures_that_differ_by_numbers_are_one_cause(
    api: Any, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """A thousand files that were not made were a thousand causes."""
    task_id = world.task()
    ids = world.jobs(3, task=task_id)
    with engine.begin() as tx:
        for number, pandaid in enumerate(ids):
            job, diag = [jobs.ref(jobs.get_job(tx, pandaid))], f"no file user.alice.{number}._00000{number}.o.txt"
            errors = {"pilot_error_code": 1165, "pilot_error_diag": diag}
            jobs.move_jobs(tx, job, JobState.FAILED, actor="t", why="t", now=clock(), **errors)
    (told,) = api.get("task/get_detailed_info", task_id=task_id)["data"]["errors"]
    assert (told["count"], told["example_job"]) == (3, ids[2])
    assert told["diag"] == "no file user.alice.2._000002.o.txt"


def test_what_is_not_there_is_said(api: Any) -> None:
    for path in ("get_detailed_info", "get_status", "get_task_parameters", "get_job_ids"):
        answer = api.get(f"task/{path}", task_id=7)
        assert (answer["success"], answer["status"], answer["code"]) == (False, 404, "BAM-FIND-001")
        assert api.get(f"task/{path}")["errors"][0]["where"] == "task_id"
    assert api.get("task/get_status", task_id="1; DROP TABLE tasks")["status"] == 422
    assert api.get("task/get_status", task_id=2**70)["status"] == 422


def test_listings(api: Any, bob: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    mine = [world.task(f"user.alice.run{n}/") for n in range(3)]
    his = world.task("user.bob.x_y/", user="bob")
    set_state(engine, mine[0], "done", modified_at=clock())
    set_state(engine, mine[1], "pending", old_status="running")

    def listed(who: Any = api, **query: Any) -> list[int]:
        filters = query.pop("filters", None)
        if filters is not None:
            query["filters"] = json.dumps(filters)
        return [row["jediTaskID"] for row in who.get("task/get_tasks_detailed_info_since", **query)["data"]]

    assert listed() == mine[::-1]
    assert listed(bob) == [his]
    assert listed(filters={"userName": "bob"}) == [his]
    assert listed(filters={"status": "done|pending"}) == [mine[1], mine[0]]
    assert listed(filters={"superStatus": "registered"}) == [mine[2]]
    assert listed(filters={"superStatus": "submitting"}) == []  # which no state here is
    assert listed(filters={"taskName": "user.alice.run*"}) == mine[::-1]
    assert listed(filters={"taskName": "^user.alice.run1/$"}) == [mine[1]]
    assert listed(filters={"userName": "bob", "taskName": "user%"}) == []
    assert listed(filters={"userName": "bob", "taskName": "*x_y*"}) == [his]
    assert listed(filters={"jediTaskID": f"{mine[0]}|{mine[2]}"}) == [mine[2], mine[0]]
    assert listed(filters={"taskName": "x' OR '1'='1"}) == []
    assert listed(n_tasks=2) == mine[:0:-1]
    assert listed(n_tasks=2, before=mine[1]) == [mine[0]]
    assert listed(since="2026-01-02 00:00:00") == []
    assert listed(since="2025-12-31 00:00:00", filters=None) == mine[::-1]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"filters": '{"taskNme": "x"}'}, "filters.taskNme"),
        ({"filters": '{"status": ["x"]}'}, "filters.status"),
        ({"filters": '{"taskName": "(a+)+$"}'}, "filters.taskName"),
        ({"filters": '{"jediTaskID": "x"}'}, "filters.jediTaskID"),
        ({"filters": "[]"}, "filters"),
        ({"since": "yesterday"}, "since"),
        ({"n_tasks": 0}, "n_tasks"),
    ],
)
def test_filters_that_make_no_sense(api: Any, query: dict[str, Any], where: str) -> None:
    answer = api.get("task/get_tasks_detailed_info_since", **query)
    assert [fault["where"] for fault in answer["errors"]] == [where]


COMMANDS = {
    "kill": ("kill", {}),
    "finish": ("finish", {"soft": False}),
    "retry": ("retry", {}),
    "reload_input": ("incexec", {}),
    "pause": ("pause", {}),
    "resume": ("resume", {}),
    "avalanche": ("avalanche", {}),
}
#: Of the states tried here, those in which PanDA takes a command.
TAKEN = {
    "kill": {"running", "scouting", "exhausted", "paused", "finishing"},
    "finish": {"running", "scouting", "exhausted", "paused", "finishing"},
    "retry": {"finished", "failed", "exhausted", "running", "scouting"},
    "reload_input": {"finished", "failed", "exhausted", "done", "aborted"},
    "pause": {"running", "scouting"},
    "resume": {"paused"},
    "avalanche": {"scouting", "exhausted"},
}
TRIED = (
    *("running", "scouting", "exhausted", "paused", "finishing"),
    *("finished", "failed", "done", "aborted", "broken", "prepared"),
)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_is_queued_where_its_state_allows(api: Any, world: Any, engine: sa.Engine, verb: str) -> None:
    for state in TRIED:
        task_id = world.task(f"user.alice.{state}")
        set_state(engine, task_id, state)
        answer = api.post(f"task/{verb}", {"task_id": task_id})
        assert answer["success"] is (state in TAKEN[verb]), state
        if answer["success"]:
            assert answer["data"] == (0 if verb == "retry" else answer["message"])
            assert str(task_id) in answer["message"]
        else:
            assert (answer["status"], answer["data"]) == (409, 4)
    assert queued(engine) == [(*COMMANDS[verb], "alice")] * len(TAKEN[verb])


def test_a_command_given_twice_is_queued_once(api: Any, world: Any, engine: sa.Engine) -> None:
    task_id = world.task()
    for _ in range(3):
        assert api.post("task/kill", {"task_id": task_id})["success"]
    assert api.post("task/finish", {"task_id": task_id, "soft": True})["success"]
    assert queued(engine) == [("kill", {}, "alice"), ("finish", {"soft": True}, "alice")]


@pytest.mark.parametrize("verb", COMMANDS)
def test_only_the_owner_commands(bob: Any, world: Any, engine: sa.Engine, verb: str) -> None:
    task_id = world.task()
    answer = bob.post(f"task/{verb}", {"task_id": task_id})
    assert (answer["success"], answer["status"], answer["data"]) == (False, 403, 3)
    missing = bob.post(f"task/{verb}", {"task_id": 1})
    assert (missing["status"], missing["data"]) == (404, 2)
    misspelt = bob.post(f"task/{verb}", {"taskid": 1})
    assert [fault["where"] for fault in misspelt["errors"]] == ["task_id", "taskid"]
    assert queued(engine) == []


def test_retry_with_new_parameters(api: Any, world: Any, engine: sa.Engine) -> None:
    task_id = world.task()
    set_state(engine, task_id, "finished")
    new = {"nFilesPerJob": 2, "site": None}
    assert api.post("task/retry", {"task_id": task_id, "new_parameters": new})["data"] == 3
    assert queued(engine) == [("retry", {"new_parameters": new}, "alice")]
    for bad in ({"nFilesPerJb": 1}, {"coreCount": "many"}, {"taskName": None}):
        answer = api.post("task/retry", {"task_id": task_id, "new_parameters": bad})
        assert answer["status"] == 422 and answer["data"] not in (0, 3, False) and len(answer["errors"]) == 1
    assert len(queued(engine)) == 1


def test_every_state_has_a_coarse_one() -> None:
    from bamboo.server.task_rows import super_status

    known = {"running", "ready", "registered", "finished", "failed", "done", "broken", "aborted"}
    assert {super_status(state, None) for state in TaskState} == known
