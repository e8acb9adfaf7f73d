"""Heartbeats that are collected: what is promised before they are written, and what they can change when they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.server.app import create_app
from bamboo.server.heartbeats import Heartbeats
from bamboo.sql import job_queries, jobs

HELD = timedelta(seconds=1800)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing is written before a test says so."""
    return settings.model_copy(update={"server": settings.server.model_copy(update={"collect_seconds": 60})})


@pytest.fixture
def app(settings: Settings, engine: sa.Engine, clock: ManualClock) -> Flask:
    return create_app(settings, engine, clock)


@pytest.fixture
def beats(app: Flask) -> Heartbeats:
    found: Heartbeats = app.extensions["bamboo"].heartbeats
    return found


@pytest.fixture
def running(api: Any, claim: Callable[..., Any]) -> Callable[[], dict[str, Any]]:
    """Makes a job, which a pilot has reported as running."""

    def _running() -> dict[str, Any]:
        job = claim()
        assert api.post("pilot/update_job", report(job))["data"]["leaseSeconds"] == HELD.total_seconds()
        return dict(job)

    return _running


def report(job: dict[str, Any], state: str = "running", **more: Any) -> dict[str, Any]:
    return {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"], "job_status": state, **more}


def row_of(engine: sa.Engine, job: dict[str, Any]) -> Any:
    with engine.connect() as tx:
        return jobs.get_job(tx, job["PandaID"])


def test_the_pilot_is_promised_only_what_is_written(
    api: Any, running: Any, beats: Heartbeats, engine: sa.Engine, clock: ManualClock
) -> None:
    """A server that dies with heartbeats that it has collected must have promised nothing."""
    job, began = running(), clock()
    clock.advance(seconds=600)
    answer = api.post("pilot/update_job", report(job, max_pss=77, stdout="one"))["data"]
    assert answer["leaseSeconds"] == 1200
    assert row_of(engine, job).lease_until == began + HELD
    beats.write()
    row = row_of(engine, job)
    assert (row.lease_until, row.heartbeat_at, row.max_pss_kb) == (clock() + HELD, clock(), 77)


def test_the_last_figures_of_each_job_count(
    api: Any, running: Any, beats: Heartbeats, engine: sa.Engine, clock: ManualClock
) -> None:
    several = [running() for _ in range(3)]
    for n in (1, 2):
        clock.advance(seconds=10)
        for job in several:
            figures = {"max_pss": n * job["PandaID"]} if n == 1 else {"cpu_consumption_time": n * job["PandaID"]}
            api.post("pilot/update_job", report(job, stdout=f"line {n}", **figures))
    api.post("pilot/update_job", report(several[0], job_metrics="leak=0.5", job_sub_status="merging"))
    beats.write()
    for job in several:
        row = row_of(engine, job)
        assert (row.max_pss_kb, row.cpu_consumption_seconds) == (job["PandaID"], 2 * job["PandaID"])
        with engine.connect() as tx:
            found = job_queries.report_of(tx, job["PandaID"])
        assert found is not None and found.stdout_tail == "line 2"
    assert [row_of(engine, job).memory_leak_kb_per_second for job in several] == [0.5, None, None]
    assert [row_of(engine, job).substatus for job in several] == ["merging", None, None]


def test_an_order_reaches_the_pilot_at_once(api: Any, running: Any, engine: sa.Engine, clock: ManualClock) -> None:
    job = running()
    with engine.begin() as tx:
        jobs.note(tx, jobs.ref(jobs.get_job(tx, job["PandaID"])), command_to_pilot="tobekilled", now=clock())
    assert api.post("pilot/update_job", report(job))["data"]["command"] == "tobekilled"


@pytest.mark.parametrize("new_attempt", [False, True])
def test_a_job_that_has_gone_on_is_left_alone(
    api: Any, running: Any, beats: Heartbeats, engine: sa.Engine, clock: ManualClock, new_attempt: bool
) -> None:
    """What was collected for an attempt must not touch what came after it."""
    job = running()
    api.post("pilot/update_job", report(job, max_pss=77, stdout="late"))
    with engine.begin() as tx:
        held = jobs.ref(jobs.get_job(tx, job["PandaID"]))
        if new_attempt:
            tx.execute(sa.text("UPDATE jobs SET attempt_nr = 2"))
        else:
            jobs.move_job(tx, held, JobState.FAILED, actor="t", why="t", now=clock())
    before = row_of(engine, job)
    beats.write()
    assert row_of(engine, job) == before
    with engine.connect() as tx:
        found = job_queries.report_of(tx, job["PandaID"])
    assert found is None or found.stdout_tail != "late"


def test_reports_of_another_attempt_and_of_no_job_are_refused(api: Any, running: Any) -> None:
    job = running()
    assert not api.post("pilot/update_job", report({**job, "attemptNr": 7}), http=200)["success"]
    assert not api.post("pilot/update_job", report({**job, "PandaID": 9_999_999}), http=200)["success"]


def test_a_lease_of_which_half_is_gone_is_renewed_at_once(
    api: Any, running: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    job = running()
    clock.advance(seconds=901)
    assert api.post("pilot/update_job", report(job))["data"]["leaseSeconds"] == HELD.total_seconds()
    assert row_of(engine, job).lease_until == clock() + HELD


def test_heartbeats_that_cannot_be_written_are_told_and_hold_nobody_up(
    api: Any, running: Any, app: Flask, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    job = running()
    lost = Heartbeats(sa.create_engine("sqlite:////nowhere/at/all.db"), 60)
    context = app.extensions["bamboo"]
    lost._heard = {job["PandaID"]: _heard(context.heartbeats, api, job)}
    lost.write()
    assert [record.__dict__["event"] for record in caplog.records if "heartbeats" in record.message] == [
        "heartbeats_lost"
    ]
    lost.write()  # nothing is left


def _heard(beats: Heartbeats, api: Any, job: dict[str, Any]) -> Any:
    api.post("pilot/update_job", report(job))
    return replace(beats._heard[job["PandaID"]])


def test_one_that_the_database_refuses_costs_nobody_else_a_lease(
    api: Any, beats: Heartbeats, running: Callable[[], dict[str, Any]], engine: sa.Engine, clock: ManualClock
) -> None:
    good, bad = running(), running()
    clock.advance(minutes=1)
    assert api.post("pilot/update_job", report(good, max_pss=7))["success"]
    (heard,) = beats._heard.values()
    beats._add(replace(heard, pandaid=bad["PandaID"], report={"stdout_tail": "\ud800"}))
    beats.write()
    assert (row_of(engine, good).max_pss_kb, row_of(engine, bad).max_pss_kb) == (7, None)
