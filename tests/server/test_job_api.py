"""Looking at jobs, killing them, and watching them while they run: /api/v1/job/, and what a job's definition holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.server.pilot_orders import debug_command, for_pilot
from bamboo.sql import job_reports, jobs, tasks
from bamboo.sql.tables import jobs as job_table

HARVESTER = json.loads((Path(__file__).parent / "captures" / "harvester.json").read_text())


def told(job: dict[str, Any], state: str = "running", **more: Any) -> dict[str, Any]:
    return {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"], "job_status": state, **more}


def row_of(engine: sa.Engine, pandaid: int) -> Any:
    with engine.begin() as tx:
        return jobs.get_job(tx, pandaid)


def test_debug_mode_and_the_output_while_it_runs(api: Any, bob: Any, claim: Callable[..., Any]) -> None:
    job = claim()
    asked = {"job_id": job["PandaID"], "mode": True}
    answer = api.post("job/set_debug_mode", asked)
    assert answer["success"] and answer["data"] == answer["message"]  # pbook prints `data`
    assert api.post("pilot/update_job", told(job))["command"] == "debug"
    assert api.get("job/get_stdout", job_id=job["PandaID"])["status"] == 409  # nothing yet
    api.post("pilot/update_job", told(job, stdout="step 7 of 9"))
    assert api.get("job/get_stdout", job_id=job["PandaID"])["data"] == {
        "job_id": job["PandaID"],
        "status": "running",
        "stdout": "step 7 of 9",
    }
    assert bob.get("job/get_stdout", job_id=job["PandaID"])["status"] == 403
    assert api.post("job/set_debug_mode", {**asked, "mode": False})["success"]
    command = api.post("pilot/update_job", told(job))["command"]
    assert command.startswith("debugoff") and " " in command  # the bare word is taken for `debug`
    for path, body in (("set_debug_mode", asked), ("send_command", {"job_id": job["PandaID"], "command": "ps"})):
        assert bob.post(f"job/{path}", body)["status"] == 403
    assert api.post("job/set_debug_mode", {"job_id": 999, "mode": True})["status"] == 404


def test_a_command_goes_to_the_pilot(api: Any, claim: Callable[..., Any], world: Any) -> None:
    job = claim()
    asked = {"job_id": job["PandaID"], "command": "tail -n 20 payload.stdout"}
    assert api.post("job/send_command", asked)["success"]
    assert api.post("pilot/update_job", told(job, pilot_id="x|PR|3.7.0.36"))["command"] == asked["command"]
    assert api.get("job/get_status", job_ids=[job["PandaID"], 999])["data"] == [
        {"status": "running", "command": asked["command"]},
        {"status": "not found", "command": "NULL"},
    ]
    api.post("pilot/update_job", told(job, pilot_id="x|PR|3.11.5.1"))
    refused = api.post("job/send_command", asked)  # it could fail the job there
    assert (refused["status"], refused["success"]) == (409, False)
    assert api.post("job/send_command", {**asked, "command": "ls"})["success"]
    assert api.post("pilot/update_job", told(job))["command"] == "ls ."
    (queued,) = world.jobs(1)
    assert api.post("job/send_command", {"job_id": queued, "command": "ps"})["status"] == 409


@pytest.mark.parametrize(
    "command",
    [
        "",
        "rm -rf x",
        "tail",
        "tail -f log",
        "tail --follow log",
        "tail -F log",
        "tail /etc/passwd",
        "ls ../..",
        "ls a/../../b",
        "ls; id",
        "ls $(id)",
        "ls `id`",
        "ls a|b",
        "ps > x",
        "ls a\nid",
        "ls --hyperlink",
        "tail -n 5 " + "x" * 60,
        "gdb -p 1",
    ],
)
def test_other_commands_are_refused(api: Any, claim: Callable[..., Any], engine: sa.Engine, command: str) -> None:
    job = claim()
    answer = api.post("job/send_command", {"job_id": job["PandaID"], "command": command})
    if command == "ls a\nid":  # a new line is a blank like any other
        assert answer["success"] and row_of(engine, job["PandaID"]).command_to_pilot == "ls a id"
        return
    assert (answer["success"], answer["errors"][0]["where"]) == (False, "command")
    assert row_of(engine, job["PandaID"]).command_to_pilot is None


@pytest.mark.parametrize(
    ("command", "sent"),
    [("ls", "ls ."), ("ps", "ps -ef"), ("ps aux", "ps aux"), ("ls -la  sub", "ls -la sub"), ("tail -5 x", "tail -5 x")],
)
def test_orders_have_a_blank_by_which_pilots_know_them(command: str, sent: str) -> None:
    assert debug_command(command) == sent
    assert " " in for_pilot(sent, "unknown|PR|3.7.0.36")


def test_jobs_are_killed(api: Any, bob: Any, world: Any, claim: Callable[..., Any], engine: sa.Engine) -> None:
    running = claim()["PandaID"]
    queued, other = world.jobs(2)
    assert bob.post("job/kill", {"job_ids": [queued, running]})["data"] == [False, False]
    assert api.post("job/kill", {"job_ids": [queued, running, 999]})["data"] == [True, True, False]
    assert row_of(engine, queued).status == "cancelled"
    assert row_of(engine, running).command_to_pilot == "tobekilled"
    assert row_of(engine, other).status == "activated"
    assert api.post("job/kill", {"job_ids": [queued]})["data"] == [False]
    assert api.post("job/set_debug_mode", {"job_id": running, "mode": True})["status"] == 409  # stays killed


def test_descriptions_have_every_attribute(api: Any, world: Any) -> None:
    task_id = world.task()
    ids = world.jobs(2, task=task_id)
    first, missing, second = api.post("job/get_description", {"job_ids": [ids[0], 999, ids[1]]})["data"]
    assert (first["PandaID"], missing, second["PandaID"]) == (ids[0], None, ids[1])
    assert first["jobParameters"] == "-p x" and "hs06sec" in first and first["metadata"] is None
    assert [(file["lfn"], file["dataset"]) for file in first["Files"]] == [
        ("000001.output", "user.alice.output"),
        ("000001.log", "user.alice.log"),
    ]
    assert len(api.get("task/get_job_descriptions", task_id=task_id, unsuccessful_only=True)["data"]) == 0
    assert len(api.get("task/get_job_descriptions", task_id=task_id, unsuccessful_only="None")["data"]) == 2
    assert api.post("job/submit", {"jobs": "[]"})["code"] == "BAM-NOTYET-001"


def test_metadata(api: Any, world: Any, engine: sa.Engine) -> None:
    task_id = world.task()
    first, second = world.jobs(2, task=task_id)
    with engine.begin() as tx:
        job_reports.store_metadata(tx, first, task_id, '{"a": [1]}')
        job_reports.store_metadata(tx, second, task_id, "no JSON")
    found = api.get("job/get_metadata_for_analysis_jobs", task_id=task_id)["data"]
    assert found == {str(first): {"a": [1]}, str(second): "no JSON"}


def test_steps_and_container(api: Any, world: Any, engine: sa.Engine) -> None:
    step = {"command": "${TRF}", "args": "--preprocess ${TRF_ARGS}"}
    options = {"containerExec": "echo hi; /bin/sh __run_main_exec.sh", "containerImage": "docker://alpine:3"}
    world.jobs(1, container_name="docker://alpine:3")
    plain = api.post("pilot/acquire_jobs", {"site_name": "LOCAL"})["data"]["jobs"][0]
    assert plain["container_name"] == "docker://alpine:3" and "preprocess" not in plain
    task_id = world.task()
    with engine.begin() as tx:
        given = tasks.get_parameters(tx, task_id)
        tasks.set_parameters(tx, task_id, {**given, "multiStepExec": {"preprocess": step, "containerOptions": options}})
    world.jobs(1, task=task_id, container_name="docker://alpine:3")
    job = api.post("pilot/acquire_jobs", {"site_name": "LOCAL"})["data"]["jobs"][0]
    assert job["preprocess"] == {"command": job["transformation"], "args": "--preprocess -p x"}
    assert job["containerOptions"] == options and "postprocess" not in job


def test_harvester_takes_and_reports_many(api: Any, world: Any, engine: sa.Engine) -> None:
    """Requests as Harvester has sent them, with our job ids in the place of its."""
    world.queue("LOCAL_PUSH")
    ids = world.jobs(3, queue="LOCAL_PUSH", prod_source_label="managed")
    asked = HARVESTER["pilot/acquire_jobs"][0]["d"]
    taken = api.post("pilot/acquire_jobs", asked)["data"]["jobs"]
    assert [job["PandaID"] for job in taken] == ids
    ours = dict(zip((1001, 1002, 1003), ids, strict=True))
    for call in HARVESTER["pilot/update_jobs_bulk"]:
        listed = [{**job, "job_id": ours[job["job_id"]]} for job in call["d"]["job_list"]]
        answers = api.post("pilot/update_jobs_bulk", {**call["d"], "job_list": listed})["data"]
        assert [answer["success"] for answer in answers] == [True] * len(listed)
        assert {answer["data"]["command"] for answer in answers} == {"NULL"}
    assert [row_of(engine, job).reported_status for job in ids] == ["finished", "failed", None]
    mixed = [{"job_id": 999, "job_status": "running"}, {"job_id": "x"}, {"job_id": ids[2], "job_status": "running"}]
    answers = api.post("pilot/update_jobs_bulk", {"job_list": mixed, "harvester_id": "htry"})["data"]
    assert [answer["success"] for answer in answers] == [False, False, True]
    with engine.begin() as tx:
        tx.execute(sa.update(job_table).where(job_table.c.pandaid == ids[2]).values(attempt_nr=2))
    (stale,) = api.post("pilot/update_jobs_bulk", {"job_list": json.dumps(mixed[2:])})["data"]
    assert (stale["success"], stale["data"]["command"]) == (False, "tobekilled")


def test_pilots_tell_of_their_machines(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    told_node = {"site": "S", "host_name": "h", "cpu_model": "x", "n_logical_cpus": 8, "model": None}
    assert api.post("pilot/update_worker_node", told_node)["success"]
    assert api.post("pilot/update_worker_node_gpu", {**told_node, "vendor": "v"})["success"]
    assert [getattr(record, "event", "") for record in caplog.records if hasattr(record, "figures")] == [
        "worker_node",
        "worker_node_gpu",
    ]
    assert api.post("pilot/update_worker_node", {"site": "S"})["status"] == 422


def test_event_ranges_are_empty_in_their_shapes(api: Any) -> None:
    none = api.post("event/acquire_event_ranges", {"job_id": 1, "task_id": 1, "jobset_id": 1, "n_ranges": 2})["data"]
    assert none == {"StatusCode": 0, "eventRanges": []}
    for given in ([{"eventRangeID": "1"}], '[{"eventRangeID": "1"}]'):
        answer = api.post("event/update_event_ranges", {"event_ranges": given})
        assert answer["data"] == {"StatusCode": 0, "Returns": [False], "Command": {}}
    asked = ["{'task_id': 1, 'panda_id': 2}", '{"task_id": 1, "panda_id": 3}']
    assert api.get("event/get_event_range_statuses", job_task_ids=asked)["data"] == {"2": {}, "3": {}}
    assert api.get("event/get_event_range_statuses", job_task_ids=asked[0])["data"] == {"2": {}}
    assert api.get("event/get_available_event_range_count", job_id=1)["data"] == 0


def test_a_failed_job_says_what_its_errors_mean_and_which_rule_fired(
    api: Any, claim: Callable[..., Any], world: Any
) -> None:
    pandaid = claim()["PandaID"]
    failed = {
        "pilot_error_code": 1213,
        "pilot_error_diag": "too long",
        "trans_exit_code": 7,
        "retry_rule": "out-of-time",
    }
    with world.engine.begin() as tx:
        tx.execute(sa.update(job_table).where(job_table.c.pandaid == pandaid).values(**failed))
    job = api.get("job/get_detailed_info", job_id=pandaid)["data"]
    assert job["retryRule"] == "out-of-time"
    assert [(error["source"], error["code"], error["diag"], error["who"]) for error in job["errors"]] == [
        ("pilot", 1213, "too long", "user"),
        ("trans", 7, "", "user"),
    ]
    assert job["errors"][0]["meaning"] == "the wall time, or the pilot's lifetime, is over"
