"""Pilots get work and tell of it: /api/v1/pilot/."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.pilot.job_spec import JobSpec
from bamboo.sql import grid, job_queries, jobs, tasks
from bamboo.sql.tables import job_files

WORK = {"computing_element": "LOCAL", "site_name": "LOCAL", "prod_source_label": "user", "node": "n1", "n_jobs": 1}


def report(job: dict[str, Any], state: str, **more: Any) -> dict[str, Any]:
    return {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"], "job_status": state, **more}


def row_of(engine: sa.Engine, pandaid: int) -> Any:
    with engine.begin() as tx:
        return jobs.get_job(tx, pandaid)


def test_a_pilot_gets_the_job_as_panda_writes_it(api: Any, world: Any) -> None:
    (pandaid,) = world.jobs(1)
    answer = api.post("pilot/acquire_jobs", WORK)
    assert answer["success"] and answer["data"]["StatusCode"] == 0
    (job,) = answer["data"]["jobs"]
    assert job["PandaID"] == pandaid
    assert job["attemptNr"] == 1
    assert job["jobPars"] == "-p x"
    assert job["transformation"] == "http://bamboo.test:25080/trf/user/runGen-00-00-02"
    assert job["outFiles"] == "000001.output,000001.log"
    assert job["ddmEndPointOut"] == "LOCAL_DISK,LOCAL_DISK"
    assert job["scopeOut"] == "user.alice"  # one shorter than outFiles: the log is not counted
    assert (job["logFile"], job["logGUID"], job["scopeLog"]) == ("000001.log", "NULL", "user.alice")
    assert job["inFiles"] == ""
    assert (job["leaseSeconds"], job["heartbeatSeconds"]) == (1800, 600)
    assert None not in job.values()


def test_without_work_the_answer_is_pandas(api: Any, world: Any) -> None:
    answer = api.post("pilot/acquire_jobs", WORK)
    assert answer == {"success": False, "message": "No jobs in PanDA", "data": None}


def test_a_pilot_is_noted_at_its_queue(api: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    """With and without work: the brokerage passes over queues without pilots (manual ch. 12.1)."""
    api.post("pilot/acquire_jobs", WORK)
    with engine.connect() as tx:
        assert {row.queue: row.last_pilot_at for row in grid.activities(tx)} == {"LOCAL": clock()}


def test_a_pilot_of_an_unknown_queue_hears_of_it(api: Any) -> None:
    answer = api.post("pilot/acquire_jobs", {"computing_element": "NOWHERE"})
    assert not answer["success"]
    assert answer["status"] == 404 and "NOWHERE" in answer["message"]
    assert answer["command"] == answer["data"]["command"] == "NULL"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"memory": 99}, 0),
        ({"memory": 100}, 1),
        ({"disk_space": 99}, 0),
        ({"remaining_time": 3599}, 0),
        ({"remaining_time": 3600.0}, 1),
        ({"prod_source_label": "managed"}, 0),
        ({"prod_source_label": "unified"}, 1),
        ({"prod_source_label": None}, 1),
        ({"resource_type": "MCORE"}, 0),
        ({"working_group": "higgs"}, 0),
    ],
)
def test_only_jobs_that_fit_are_given(api: Any, world: Any, asked: dict[str, Any], given: int) -> None:
    world.jobs(1)
    answer = api.post("pilot/acquire_jobs", {**WORK, **asked})
    assert len((answer["data"] or {"jobs": []})["jobs"]) == given


def test_a_repeated_request_gets_the_same_job(api: Any, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    world.jobs(2)
    first = api.post("pilot/acquire_jobs", WORK, Idempotency_Key="k1")
    clock.advance(seconds=90)
    again = api.post("pilot/acquire_jobs", WORK, Idempotency_Key="k1", X_Retry="1")
    other = api.post("pilot/acquire_jobs", WORK, Idempotency_Key="k2")
    assert again == first
    assert other["data"]["jobs"][0]["PandaID"] != first["data"]["jobs"][0]["PandaID"]
    lease = row_of(engine, first["data"]["jobs"][0]["PandaID"]).lease_until
    assert (lease - clock()).total_seconds() == 1800  # counted from the repetition, as the pilot does


def test_each_job_is_given_once(app: Any, world: Any) -> None:
    wanted = set(world.jobs(40))
    taken: list[int] = []
    start = threading.Barrier(8)

    def pilot() -> None:
        client = app.test_client()
        start.wait(PATIENCE_SECONDS)
        while True:
            answer = client.post("/api/v1/pilot/acquire_jobs", json={**WORK, "n_jobs": 2}).json
            if not answer["success"]:
                assert answer["message"] == "No jobs in PanDA"
                return
            taken.extend(job["PandaID"] for job in answer["data"]["jobs"])

    pilots = [threading.Thread(target=pilot) for _ in range(8)]
    for each in pilots:
        each.start()
    for each in pilots:
        each.join(PATIENCE_SECONDS)
    assert sorted(taken) == sorted(wanted)


METRICS = "coreCount=1 nonsense workDirSize=4096 leak=-0.5 chi2=x"


def test_a_job_goes_its_way(api: Any, claim: Callable[..., Any], engine: sa.Engine, clock: ManualClock) -> None:
    job = claim()
    for state in ("starting", "running", "running"):
        clock.advance(seconds=10)
        answer = api.post("pilot/update_job", report(job, state, stdout=f"now {state}", max_rss=17, node="n7"))
        assert answer["success"]
        assert answer["data"] == {"StatusCode": 0, "command": "NULL", "leaseSeconds": 1800}
        assert answer["command"] == "NULL"
        row = row_of(engine, job["PandaID"])
        assert (row.status, row.max_rss_kb, row.node) == (state, 17, "n7")
        assert (row.lease_until - clock()).total_seconds() == 1800
    made = {"000001.output": {"guid": "g", "fsize": 3, "adler32": "0123abcd", "surl": "file:///x"}}
    final = report(
        job,
        "finished",
        job_output_report=json.dumps(made),
        trans_exit_code=0,
        meta_data='{"a": 1}',
        job_metrics=METRICS,
    )
    assert api.post("pilot/update_job", final)["success"]
    row = row_of(engine, job["PandaID"])
    assert (row.status, row.reported_status, row.lease_until) == ("holding", "finished", None)
    assert row.ended_at == clock() and row.started_at is not None
    assert (row.work_dir_bytes, row.memory_leak_kb_per_second, row.tot_rbytes_kb) == (4096, -0.5, None)
    with engine.begin() as tx:
        told = job_queries.report_of(tx, job["PandaID"])
        steps = [(event.old_status, event.new_status) for event in job_queries.events_of(tx, job["PandaID"])]
    assert told is not None
    assert (told.output_report, told.stdout_tail, told.job_metrics) == (made, "now running", METRICS)
    assert steps == [
        (None, "activated"),
        ("activated", "sent"),
        ("sent", "starting"),
        ("starting", "running"),
        ("running", "holding"),
    ]


def test_a_repeated_final_report_changes_nothing(api: Any, claim: Callable[..., Any], engine: sa.Engine) -> None:
    job = claim()
    final = report(job, "failed", pilot_error_code=1099, pilot_error_diag="no file")
    assert api.post("pilot/update_job", final)["success"]
    before = row_of(engine, job["PandaID"])
    assert api.post("pilot/update_job", final)["success"]
    assert api.post("pilot/update_job", report(job, "running"))["success"]  # a heartbeat that was overtaken
    assert row_of(engine, job["PandaID"]) == before
    other = api.post("pilot/update_job", report(job, "finished"))
    assert not other["success"] and other["data"]["reason"] == "stale_attempt"
    assert row_of(engine, job["PandaID"]) == before


def test_a_late_starting_is_a_heartbeat(api: Any, claim: Callable[..., Any], engine: sa.Engine) -> None:
    job = claim()
    api.post("pilot/update_job", report(job, "running"))
    assert api.post("pilot/update_job", report(job, "starting"))["success"]
    assert row_of(engine, job["PandaID"]).status == "running"


@pytest.mark.parametrize("state", ["holding", "transferring"])
def test_a_lingering_pilot_keeps_its_lease(
    api: Any, claim: Callable[..., Any], engine: sa.Engine, clock: ManualClock, state: str
) -> None:
    job = claim()
    api.post("pilot/update_job", report(job, "running"))
    clock.advance(minutes=20)
    assert api.post("pilot/update_job", report(job, state))["success"]
    row = row_of(engine, job["PandaID"])
    assert (row.status, row.substatus) == ("running", state)
    assert (row.lease_until - clock()).total_seconds() == 1800
    assert api.post("pilot/update_job", report(job, "finished"))["success"]
    assert row_of(engine, job["PandaID"]).status == "holding"


@pytest.mark.parametrize("state", ["starting", "running", "finished", "failed", "holding", "transferring"])
def test_a_stale_attempt_is_refused_and_changes_nothing(
    api: Any, claim: Callable[..., Any], engine: sa.Engine, clock: ManualClock, state: str
) -> None:
    """The pilot of attempt 1 wakes up after its job was given to attempt 2."""
    job = claim()
    with engine.begin() as tx:
        held = jobs.ref(jobs.get_job(tx, job["PandaID"]))
        jobs.move_job(tx, held, JobState.ACTIVATED, actor="t", why="t", now=clock(), new_attempt=True)
    second = api.post("pilot/acquire_jobs", WORK)["data"]["jobs"][0]
    assert (second["PandaID"], second["attemptNr"]) == (job["PandaID"], 2)
    before = row_of(engine, job["PandaID"])
    answer = api.post("pilot/update_job", report(job, state))
    assert not answer["success"]
    assert answer["data"] == {"StatusCode": 30, "command": "tobekilled", "reason": "stale_attempt"}
    assert answer["command"] == "tobekilled"
    assert answer["status"] == 409
    assert row_of(engine, job["PandaID"]) == before


def test_a_job_that_was_killed_takes_no_report(
    api: Any, claim: Callable[..., Any], engine: sa.Engine, clock: ManualClock
) -> None:
    job = claim()
    with engine.begin() as tx:
        held = jobs.ref(jobs.get_job(tx, job["PandaID"]))
        jobs.move_job(tx, held, JobState.CANCELLED, actor="t", why="t", now=clock())
    answer = api.post("pilot/update_job", report(job, "finished"))
    assert not answer["success"] and answer["command"] == "tobekilled"
    assert row_of(engine, job["PandaID"]).status == "cancelled"


@pytest.mark.parametrize("order", ["", "tobekilled", "softkill", "debug", "tail -n 50 log", "ls .", "ps -ef"])
def test_commands_reach_the_pilot_in_both_places(
    api: Any, claim: Callable[..., Any], engine: sa.Engine, clock: ManualClock, order: str
) -> None:
    """With every report, the last one too, and one by one or many at once; never null (pilot protocol 9 and 18)."""
    job = claim()
    if order:
        with engine.begin() as tx:
            jobs.order(tx, [jobs.ref(jobs.get_job(tx, job["PandaID"]))], order, now=clock())
    for state in ("starting", "running", "running", "finished", "finished"):
        answer = api.post("pilot/update_job", report(job, state))
        assert answer["success"] and answer["command"] == answer["data"]["command"] == (order or "NULL")
    (answer,) = api.post("pilot/update_jobs_bulk", {"job_list": [report(job, "finished")]})["data"]
    assert answer["data"]["command"] == (order or "NULL")
    assert api.get("job/get_status", job_ids=job["PandaID"])["data"] == [
        {"status": "holding", "command": order or "NULL"}
    ]


def test_harvester_knows_of_no_leases(
    api: Any, claim: Callable[..., Any], engine: sa.Engine, clock: ManualClock
) -> None:
    job = claim()
    (answer,) = api.post("pilot/update_jobs_bulk", {"job_list": [report(job, "running")], "harvester_id": "h"})["data"]
    assert answer["data"]["leaseSeconds"] == 3 * 3600
    assert row_of(engine, job["PandaID"]).lease_until == clock() + timedelta(hours=3)


def test_a_final_report_says_why_harvester_gave_up(api: Any, claim: Callable[..., Any], engine: sa.Engine) -> None:
    job = claim()
    api.post("pilot/update_job", report(job, "running", job_sub_status="queued"))
    assert row_of(engine, job["PandaID"]).substatus == "queued"
    api.post("pilot/update_jobs_bulk", {"job_list": [report(job, "failed", job_sub_status="missed")]})
    row = row_of(engine, job["PandaID"])
    assert (row.status, row.reported_status, row.substatus) == ("holding", "failed", "missed")


def test_a_job_without_a_log_has_the_keys_of_one(api: Any, world: Any, engine: sa.Engine) -> None:
    (pandaid,) = world.jobs(1)
    with engine.begin() as tx:
        tx.execute(sa.delete(job_files).where(job_files.c.type == "log"))
    (job,) = api.post("pilot/acquire_jobs", WORK)["data"]["jobs"]
    assert (job["PandaID"], job["outFiles"], job["logFile"]) == (pandaid, "000001.output", "")
    assert (job["logGUID"], job["scopeLog"], job["scopeOut"]) == ("", "", "user.alice")


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"a": 3}', '{"a": NaN}', "[" * 100_000, '{"\\u0000": {"fsize": 1}, "b": 2}', "NULL", ""]
)
def test_an_unreadable_output_report_is_stored_as_an_empty_one(
    api: Any, claim: Callable[..., Any], engine: sa.Engine, text: str
) -> None:
    job = claim()
    assert api.post("pilot/update_job", report(job, "finished", job_output_report=text))["success"]
    row = row_of(engine, job["PandaID"])
    assert (row.status, row.reported_status) == ("holding", "finished")
    assert bool(row.sup_error_diag) == (text not in ("NULL", ""))
    with engine.begin() as tx:
        told = job_queries.report_of(tx, job["PandaID"])
    assert told is not None and told.output_report == {}


def test_figures_that_make_no_sense_do_not_stop_a_final_report(
    api: Any, claim: Callable[..., Any], engine: sa.Engine
) -> None:
    job = claim()
    odd = report(
        job,
        "failed",
        max_rss="much",
        trans_exit_code=10**30,
        cpu_consumption_time="inf",
        pilot_error_code="1305",
        pilot_error_diag="\x00" + "x" * 1000,
        exe_error_diag={"not": "text"},
        n_events=[1],
        stdout="\ud800" * 5000,
        some_new_key=1,
    )
    body = json.dumps(odd).encode()
    answer = api.client.post("/api/v1/pilot/update_job", data=body)
    assert answer.json["success"], answer.text
    row = row_of(engine, job["PandaID"])
    assert (row.max_rss_kb, row.trans_exit_code, row.pilot_error_code) == (None, 2**31 - 1, 1305)
    assert len(row.pilot_error_diag) == 500 and "\x00" not in row.pilot_error_diag
    assert row.exe_error_diag == '{"not": "text"}'


def test_gzip_is_known_by_its_bytes(api: Any, claim: Callable[..., Any]) -> None:
    job = claim()
    body = gzip.compress(json.dumps(report(job, "running")).encode())
    assert api.client.post("/api/v1/pilot/update_job", data=body).json["success"]
    assert api.client.post("/api/v1/pilot/update_job", data=body, headers={"Content-Encoding": "gzip"}).json["success"]


def test_numbers_may_be_text(api: Any, claim: Callable[..., Any]) -> None:
    job = claim()
    texts = {key: str(value) for key, value in report(job, "running", core_count=1, max_rss=5).items()}
    assert api.post("pilot/update_job", texts)["success"]


def test_a_report_needs_job_and_state(api: Any, world: Any) -> None:
    answer = api.post("pilot/update_job", {"job_status": "dancing"})
    assert not answer["success"] and answer["data"]["StatusCode"] == 30
    assert {fault["where"] for fault in answer["errors"]} == {"job_id", "job_status"}
    unknown = api.post("pilot/update_job", {"job_id": 1, "attempt_nr": 1, "job_status": "running"})
    assert unknown["status"] == 404 and unknown["data"]["reason"] == "refused"


def test_states_of_jobs(api: Any, claim: Callable[..., Any]) -> None:
    job = claim()
    answer = api.get("pilot/get_job_status", job_ids=f"{job['PandaID']},99")
    assert answer["data"] == [
        {"job_id": job["PandaID"], "status": "sent", "attempt_number": 1},
        {"job_id": 99, "status": "not found", "attempt_number": 0},
    ]
    assert api.get("pilot/get_job_status", job_ids="1 OR 1=1")["status"] == 422


def test_workers_tell_when_they_start_and_end(api: Any, engine: sa.Engine) -> None:
    told = {"worker_id": 7, "harvester_id": "h", "status": "started", "node_id": "n"}
    assert api.post("pilot/update_worker_status", told)["success"]
    assert api.post("pilot/update_worker_status", {**told, "status": "finished"})["success"]
    with engine.begin() as tx:
        rows = tx.execute(sa.text("SELECT harvester_id, worker_id, pilot_status, node FROM workers")).all()
    assert [tuple(row) for row in rows] == [("h", 7, "finished", "n")]
    assert api.post("pilot/update_worker_status", {**told, "status": "asleep"})["status"] == 422


@pytest.mark.parametrize("name", ["get_access_token", "get_proxy", "get_token_key", "get_key_pair"])
def test_credentials_are_refused_in_the_envelope(api: Any, name: str) -> None:
    answer = api.get(f"creds/{name}", role="production", client_name="pilot_server")
    assert (answer["success"], answer["data"], answer["code"]) == (False, None, "BAM-NOTYET-001")


def test_a_pilot_is_told_not_to_look_for_idle_payloads(api: Any, world: Any, engine: sa.Engine) -> None:
    busy, idle = world.task("user.alice.busy/"), world.task("user.alice.idle/")
    with engine.begin() as tx:
        tasks.update_task(tx, idle, split_rule={"noLoopingCheck": True})
    world.jobs(1, task=busy)
    world.jobs(1, task=idle)
    taken = api.post("pilot/acquire_jobs", {**WORK, "n_jobs": 2})["data"]["jobs"]
    assert {job["taskID"]: job.get("loopingCheck") for job in taken} == {busy: None, idle: "False"}
    assert [JobSpec.parse(job).looping_check for job in taken] == [True, False]
