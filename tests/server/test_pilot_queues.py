"""Tokens of pilots that are for certain queues: what they may not do elsewhere, in both styles of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from tokens import Issuer

from bamboo.sql import jobs
from bamboo.tests.server.conftest import World

Ask = Callable[..., Any]


@pytest.fixture
def ask(guarded: Flask, issuer: Issuer) -> Ask:
    """Asks as a pilot whose token says this of its queues."""

    def _ask(path: str, body: dict[str, Any], queues: Any = ("LOCAL",), http: int = 200) -> Any:
        given = list(queues) if isinstance(queues, tuple) else queues
        token = issuer.token(name="pilot", groups=["/cms/pilots"], bamboo_queues=given)
        headers = {"Authorization": f"Bearer {token}", "Origin": "cms"}
        how = {"data": body} if path.startswith("/") else {"json": body}
        url = path if path.startswith("/") else f"/api/v1/{path}"
        answer = guarded.test_client().post(url, headers=headers, **how)
        assert answer.status_code == http, answer.text
        return answer.json

    return _ask


def status(engine: sa.Engine, pandaid: int) -> str:
    with engine.connect() as tx:
        return str(jobs.get_job(tx, pandaid).status)


@pytest.mark.parametrize("queues", [("LOCAL",), ("OTHER", "LOCAL"), "LOCAL", None])
def test_work_of_ones_own_queue(ask: Ask, world: World, queues: Any) -> None:
    (job,) = world.jobs(1)
    taken = ask("pilot/acquire_jobs", {"site_name": "LOCAL"}, queues)["data"]["jobs"]
    assert [one["PandaID"] for one in taken] == [job]


def test_no_work_of_another_queue(ask: Ask, world: World, engine: sa.Engine) -> None:
    world.queue("OTHER")
    (job,) = world.jobs(1, queue="OTHER")
    for named in ({"site_name": "OTHER"}, {"computing_element": "OTHER"}, {"site_name": "OTHER", "n_jobs": 5}):
        refused = ask("pilot/acquire_jobs", named)
        assert (refused["success"], refused["status"], refused["code"]) == (False, 403, "BAM-AUTH-002")
        assert "is of queue OTHER, but the token of Pilot is for LOCAL only" in refused["message"]
        assert "`bamboo client token --role pilot --queue OTHER`" in refused["hint"]
        assert refused["data"]["StatusCode"] == 30
    old = ask("/server/panda/getJob", {"siteName": "OTHER"})
    assert (old["StatusCode"], "jobs" in old, "PandaID" in old) == (70, False, False)
    assert status(engine, job) == "activated"


def test_a_queue_that_there_is_not_looks_no_different(ask: Ask, world: World) -> None:
    world.queue("OTHER")
    told = [ask("pilot/acquire_jobs", {"site_name": name})["message"] for name in ("OTHER", "NOWHERE")]
    assert told[0].replace("OTHER", "NOWHERE") == told[1]


def test_reports_on_jobs_of_another_queue_change_nothing(ask: Ask, world: World, engine: sa.Engine) -> None:
    world.queue("OTHER")
    (mine,), (theirs,) = world.jobs(1), world.jobs(1, queue="OTHER")
    ask("pilot/acquire_jobs", {"site_name": "LOCAL"})
    ask("pilot/acquire_jobs", {"site_name": "OTHER"}, ("OTHER",))
    refused = ask("pilot/update_job", {"job_id": theirs, "attempt_nr": 1, "job_status": "failed"})
    assert (refused["status"], refused["code"], refused["data"]["reason"]) == (403, "BAM-AUTH-002", "refused")
    assert f"job {theirs} is of queue OTHER" in refused["message"]
    old = ask("/server/panda/updateJob", {"jobId": theirs, "attemptNr": 1, "state": "failed"})
    assert (old["StatusCode"], old["command"]) == (70, "NULL")
    reports = [{"job_id": job, "attempt_nr": 1, "job_status": "running"} for job in (theirs, mine)]
    told = ask("pilot/update_jobs_bulk", {"job_list": reports})["data"]
    assert [one["success"] for one in told] == [False, True]
    assert (status(engine, theirs), status(engine, mine)) == ("sent", "running")


@pytest.mark.parametrize("queues", [[], [1], ["LOCAL", 1], "", 1, {"LOCAL": 1}, True])
def test_a_claim_that_cannot_be_read_lets_nobody_in(ask: Ask, world: World, queues: Any) -> None:
    world.jobs(1)
    refused = ask("pilot/acquire_jobs", {"site_name": "LOCAL"}, queues, http=401)
    assert "bamboo_queues is no list of queues" in refused["message"]
