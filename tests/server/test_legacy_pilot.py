"""Pilots up to 3.11 on /server/panda/: their bodies, their fields, their quirks (pilot protocol 18)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState
from bamboo.sql import job_queries, jobs
from bamboo.sql.tables import resource_types

WORK = {
    "siteName": "LOCAL",
    "computingElement": "LOCAL",
    "prodSourceLabel": "user",
    "diskSpace": 15000,
    "workingGroup": "",
    "cpu": 2500.1,
    "mem": 7936.5,
    "node": "n1",
    "allowOtherCountry": False,
    "taskID": 77,
}
OLD_AGENT = "pilot/3.7.0.36 (Python 3.11.7; Linux x86_64)"
NEW_AGENT = "pilot/3.11.5.1 (Python 3.11.7; Linux x86_64)"


def as_form(fields: dict[str, Any]) -> dict[str, Any]:
    """A request of pilot 3.7: everything is text."""
    return {
        "data": urlencode({key: str(value) for key, value in fields.items()}),
        "content_type": "application/x-www-form-urlencoded",
        "headers": {"Accept": "application/json", "User-Agent": OLD_AGENT},
    }


def as_gzip(fields: dict[str, Any]) -> dict[str, Any]:
    """A request of pilot 3.11: compressed JSON that does not say that it is compressed."""
    body = gzip.compress(json.dumps(fields).encode())
    return {"data": body, "content_type": "application/json", "headers": {"User-Agent": NEW_AGENT}}


def as_bare_form(fields: dict[str, Any]) -> dict[str, Any]:
    return {**as_form(fields), "content_type": None}


STYLES = [as_form, as_gzip, as_bare_form]
Style = Callable[[dict[str, Any]], dict[str, Any]]


class Pilot:
    def __init__(self, client: FlaskClient, style: Style) -> None:
        self.client = client
        self.style = style

    def __call__(self, method: str, /, **fields: Any) -> Any:
        answer = self.client.post(f"/server/panda/{method}", **self.style(fields))
        assert answer.status_code == 200, answer.text
        told = json.loads(answer.data)
        assert None not in told.values(), told
        return told


@pytest.fixture(params=STYLES, ids=["form", "gzip", "bare"])
def pilot(app: Any, request: pytest.FixtureRequest) -> Pilot:
    return Pilot(app.test_client(), request.param)


def report(job: dict[str, Any], state: str, **more: Any) -> dict[str, Any]:
    return {
        "jobId": job["PandaID"],
        "state": state,
        "attemptNr": job["attemptNr"],
        "timestamp": "2026-11-20T03:48:43+00:00",
        "siteName": "LOCAL",
        "node": "n1",
        "schedulerID": "unknown",
        "pilotID": "unknown|PR|3.7.0.36",
        "coreCount": 1,
        **more,
    }


def row_of(engine: sa.Engine, pandaid: int) -> Any:
    with engine.begin() as tx:
        return jobs.get_job(tx, pandaid)


def test_a_job_from_start_to_end(pilot: Pilot, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    (pandaid,) = world.jobs(1)
    job = pilot("getJob", **WORK)
    assert (job["StatusCode"], job["PandaID"], job["jobPars"]) == (0, pandaid, "-p x")
    at = clock().timestamp()
    for state in ("starting", "running", "running", "running"):  # several within a second are normal
        answer = pilot("updateJob", **report(job, state, startTime=at - 7.25, xml="", metaData=""))
        assert (answer["StatusCode"], answer["command"]) == (0, "NULL")
    row = row_of(engine, pandaid)
    assert (row.status, row.started_at.timestamp()) == ("running", at - 7.25)
    made = {"000001.output": {"guid": "", "fsize": 21, "adler32": "57060779", "surl": "file://localhost/x"}}
    final = report(
        job,
        "finished",
        xml=json.dumps(made),
        metaData='{"exitCode": 0}',
        transExitCode="0",
        pilotErrorCode=0,
        pilotErrorDiag="",
        pilotTiming="1|2|3|4|5|6",
        endTime=at - 1,
        maxPSS=300,
        totRBYTES=1000,
        totWBYTES="2000",
        jobMetrics="leak=none workDirSize=5000.0",
    )
    assert pilot("updateJob", **final)["StatusCode"] == 0
    row = row_of(engine, pandaid)
    assert (row.max_pss_kb, row.tot_rbytes_kb, row.tot_wbytes_kb) == (300, 1000, 2000)
    assert (row.work_dir_bytes, row.memory_leak_kb_per_second) == (5000, None)
    row = row_of(engine, pandaid)
    assert (row.status, row.reported_status, row.trans_exit_code) == ("holding", "finished", 0)
    assert row.ended_at.timestamp() == at - 1
    with engine.begin() as tx:
        told = job_queries.report_of(tx, pandaid)
    assert told is not None and told.output_report == made and told.pilot_timing == "1|2|3|4|5|6"


def test_without_work_it_is_status_20(pilot: Pilot, world: Any) -> None:
    assert pilot("getJob", **WORK)["StatusCode"] == 20
    world.jobs(1)
    assert pilot("getJob", **{**WORK, "mem": 1})["StatusCode"] == 20


def test_a_queue_that_is_not_there(pilot: Pilot) -> None:
    answer = pilot("getJob", **{**WORK, "siteName": "NOWHERE"})
    assert answer["StatusCode"] == 30 and "NOWHERE" in answer["errorDialog"]


def test_several_jobs_come_as_a_list(pilot: Pilot, world: Any) -> None:
    ids = world.jobs(3)
    answer = pilot("getJob", **{**WORK, "nJobs": 2})
    assert (answer["StatusCode"], [job["PandaID"] for job in answer["jobs"]]) == (0, ids[:2])


@pytest.mark.parametrize(
    ("style", "agent", "start"),
    [
        (as_form, OLD_AGENT, "http://pandaserver-doma.cern.ch:25080/trf/user/"),
        (as_form, "curl/7.88.1", "http://pandaserver-doma.cern.ch:25080/trf/user/"),
        (as_gzip, NEW_AGENT, "http://bamboo.test:25080/trf/user/"),
    ],
)
def test_each_pilot_may_run_its_transformation(app: Any, world: Any, style: Style, agent: str, start: str) -> None:
    """Pilots compare the start of the address with a list that is built into them."""
    world.jobs(1)
    request = style(WORK)
    request["headers"]["User-Agent"] = agent
    job = app.test_client().post("/server/panda/getJob", **request).json
    assert job["transformation"] == f"{start}runGen-00-00-02"


def test_lists_are_parallel_and_the_scope_leaves_the_log_out(pilot: Pilot, world: Any) -> None:
    world.jobs(1)
    job = pilot("getJob", **WORK)
    count = len(job["outFiles"].split(","))
    for key in ("realDatasets", "destinationDblock", "destinationDBlockToken", "ddmEndPointOut", "fileDestinationSE"):
        assert len(job[key].split(",")) == count
    assert len(job["scopeOut"].split(",")) == count - 1


def test_an_update_of_a_lost_job_is_refused_by_the_server_alone(
    pilot: Pilot, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """Pilots take any answer for accepted, so the refusal must change nothing and carry the order to stop."""
    world.jobs(1)
    job = pilot("getJob", **WORK)
    with engine.begin() as tx:
        held = jobs.ref(jobs.get_job(tx, job["PandaID"]))
        jobs.move_job(tx, held, JobState.ACTIVATED, actor="t", why="t", now=clock(), new_attempt=True)
    before = row_of(engine, job["PandaID"])
    answer = pilot("updateJob", **report(job, "finished"))
    assert (answer["StatusCode"], answer["command"]) == (30, "tobekilled")
    assert row_of(engine, job["PandaID"]) == before


def test_a_pilot_that_knows_no_leases_is_waited_for(
    pilot: Pilot, world: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    """It reports each half hour, and a failure two minutes late (pilot protocol 18.10 and 18.11)."""
    world.jobs(1)
    job = pilot("getJob", **WORK)
    pilot("updateJob", **report(job, "running"))
    assert row_of(engine, job["PandaID"]).lease_until == clock() + timedelta(hours=3)


def test_orders_are_never_null(pilot: Pilot, world: Any, engine: sa.Engine, clock: ManualClock) -> None:
    world.jobs(1)
    job = pilot("getJob", **WORK)
    assert pilot("updateJob", **report(job, "running"))["command"] == "NULL"
    with engine.begin() as tx:
        jobs.order(tx, [jobs.ref(jobs.get_job(tx, job["PandaID"]))], "tobekilled", now=clock())
    assert pilot("updateJob", **report(job, "running"))["command"] == "tobekilled"


@pytest.mark.parametrize(("version", "told"), [("3.7.0.36", "debug"), ("3.11.5.1", "ls -l .")])
def test_newer_pilots_are_not_sent_what_fails_their_jobs(
    pilot: Pilot, world: Any, engine: sa.Engine, clock: ManualClock, version: str, told: str
) -> None:
    world.jobs(1)
    job = pilot("getJob", **WORK)
    with engine.begin() as tx:
        jobs.order(tx, [jobs.ref(jobs.get_job(tx, job["PandaID"]))], "debug", now=clock())
    answer = pilot("updateJob", **report(job, "running", pilotID=f"unknown|PR|{version}"))
    assert answer["command"] == told


def test_unreadable_bodies_are_no_answers(app: Any) -> None:
    client = app.test_client()
    for body in (b"\x1f\x8bgarbage", b"{broken", b"not a form"):
        answer = client.post("/server/panda/updateJob", data=body)
        assert (answer.status_code, answer.text[:8]) == (400, "ERROR : ")
    answer = client.post("/server/panda/updateJob", data=b"state=running")
    assert (answer.status_code, answer.json["StatusCode"]) == (200, 30)


def test_states_of_jobs(app: Any, world: Any) -> None:
    ids = world.jobs(2)
    asked = {"data": f"ids={ids[0]},{ids[1]},999", "content_type": "application/x-www-form-urlencoded"}
    answer = app.test_client().post("/server/panda/getStatus", **asked)
    assert parse_qs(answer.text) == {
        "StatusCode": ["0"],
        "status": ["activated,activated,notfound"],
        "attemptNr": ["1,1,0"],
    }
    answer = app.test_client().post("/server/panda/getStatus", **asked, headers={"Accept": "application/json"})
    assert answer.json["status"] == "activated,activated,notfound"


def test_workers_ranges_and_what_is_not_there(pilot: Pilot, engine: sa.Engine) -> None:
    told = {"workerID": 7, "harvesterID": "h", "status": "started", "site": "LOCAL", "node_id": "n"}
    assert pilot("updateWorkerPilotStatus", **told)["StatusCode"] == 0
    with engine.begin() as tx:
        assert tx.execute(sa.text("SELECT worker_id, pilot_status FROM workers")).one() == (7, "started")
    assert pilot("getEventRanges", pandaID=1, jobsetID=1, taskID=1, nRanges=4) == {"StatusCode": 0, "eventRanges": []}
    ranges = json.dumps([{"eventRangeID": "1-2", "eventStatus": "finished"}])
    assert pilot("updateEventRanges", eventRanges=ranges, version=1)["Returns"] == [False]
    for method, keys in (
        ("getProxy", {"userProxy"}),
        ("get_access_token", {"userProxy"}),
        ("getKeyPair", {"publicKey", "privateKey"}),
    ):
        answer = pilot(method, role="production")
        assert answer["StatusCode"] in (80, 90) and keys <= answer.keys()


def test_resource_types(app: Any, engine: sa.Engine, api: Any) -> None:
    with engine.begin() as tx:
        tx.execute(sa.delete(resource_types))
        tx.execute(sa.insert(resource_types).values(resource_name="MCORE", min_core=2, min_ram_per_core_mb=0))
    expected = [{"resource_name": "MCORE", "mincore": 2, "maxcore": None, "minrampercore": 0, "maxrampercore": None}]
    assert app.test_client().get("/server/panda/getResourceTypes").json == expected
    assert api.get("metaconfig/get_resource_types")["data"] == expected
