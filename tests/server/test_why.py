"""Why tasks, jobs and queues are where they are, asked over HTTP: the whole chain, and what would help."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from world import World as FullWorld

from bamboo.core.clock import ManualClock
from bamboo.core.shares import Share
from bamboo.core.tagging import WorkQueue
from bamboo.sql import counts, leases, queues, settings, shares
from bamboo.sql import tables as t


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, but where there are statements that nothing else has."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


on_both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def full(engine: sa.Engine, clock: ManualClock) -> FullWorld:
    """A task of 5 inputs, of which 2 are in jobs that wait at Q; Q is small and P is offline."""
    world = FullWorld(engine, clock)
    world.start(5)
    world.generate(2, min_ram_count_mb=3000)
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {"storage": "DISK", "maxrss": 4000}, now=clock())
        queues.set_queue(tx, "P", {"storage": "DISK", "status": "offline"}, now=clock())
        tx.execute(sa.update(t.tasks).values(ram_count_mb=5000))
    return world


def steps(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["success"], answer
    return {step["who"]: step for step in answer["data"]["steps"]}


@on_both_databases
def test_the_chain_of_a_task(api: Any, full: FullWorld) -> None:
    answer = api.get("task/why", task_id=full.jeditaskid)
    found = steps(answer)
    assert list(found)[:4] == ["state", "inputs", "throttler", "broker"]
    assert answer["data"]["stopped_by"] == "broker"
    assert found["inputs"]["says"].startswith("5 files in user.alice.in: 3 for new jobs, 2 in jobs")
    assert found["broker"]["gates"] == [
        {
            "gate": "not online",
            "in": 2,
            "out": 1,
            "example": "P",
            "change": "set its status from offline to online",
        },
        {
            "gate": "too little memory",
            "in": 1,
            "out": 0,
            "example": "Q",
            "change": "raise its maxrss from 4000 to 5000 MB",
        },
    ]
    assert found["dispatcher"]["says"] == "no pilot has asked for work at Q"


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        (["memory=4000"], ["Q"]),
        (["Q:maxrss=5000"], ["Q"]),
        (["P:status=online"], ["P"]),
        (["maxrss=5000", "status=online"], ["P", "Q"]),
        (["memory=4000", "excludedSite=Q,P"], []),
    ],
)
def test_what_a_change_would_do(
    api: Any, full: FullWorld, engine: sa.Engine, changes: list[str], chosen: list[str]
) -> None:
    before = tables(engine)
    answer = api.get("task/why", task_id=full.jeditaskid, changes=json.dumps(changes))
    assert sorted(steps(answer)["broker"]["chosen"]) == chosen
    assert answer["data"]["tried"] == changes
    assert tables(engine) == before


def tables(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as tx:
        return {name: list(tx.execute(sa.select(table))) for name, table in t.metadata.tables.items()}


def test_a_change_that_cannot_be_made_is_refused_with_all_faults(api: Any, full: FullWorld) -> None:
    answer = api.get(
        "task/why", task_id=full.jeditaskid, changes=json.dumps(["memry=1", "maxrss=x", "NONE:status=online"])
    )
    assert (answer["success"], answer["status"]) == (False, 422)
    assert {error["where"] for error in answer["errors"]} == {"memry=1", "maxrss", "NONE"}


def test_only_the_owner_is_told(api: Any, bob: Any, full: FullWorld) -> None:
    (job, _) = full.jobs()
    for path, query in (("task/why", {"task_id": full.jeditaskid}), ("job/why", {"job_id": job})):
        assert api.get(path, **query)["success"]
        assert bob.get(path, **query)["status"] == 403
    assert api.get("task/why", task_id=1)["status"] == 404
    assert api.get("queue/why", queue="NONE")["status"] == 404


@on_both_databases
def test_why_a_pilot_gets_no_work(api: Any, full: FullWorld, clock: ManualClock) -> None:
    """What it lacked is on record, once a minute; the same conditions say of each job whether it would be taken."""
    (job, _) = full.jobs()
    asked = {"site_name": "Q", "memory": 2000, "prod_source_label": "user"}
    for _ in range(3):
        assert not api.post("pilot/acquire_jobs", asked)["success"]
    clock.advance(seconds=90)
    gate = {"gate": "memory", "example": str(job), "change": "a pilot with 3000 MB of memory instead of 2000"}
    found = steps(api.get("queue/why", queue="Q"))
    assert found["dispatcher"]["gates"] == [{**gate, "in": 2, "out": 0}]
    assert not found["dispatcher"]["passes"]
    assert "90 s ago one got nothing (it asked for labels user/panda, memory_mb 2000)" in found["dispatcher"]["says"]
    assert found["broker"]["gates"][0]["gate"] == "too little memory"
    found = steps(api.get("job/why", job_id=job))
    assert list(found) == ["state", "priority", "dispatcher", "queue limits"]
    assert found["dispatcher"]["gates"] == [{**gate, "in": 1, "out": 0}]
    assert found["queue limits"]["says"] == "Q would be chosen for it again"
    api.post("pilot/acquire_jobs", asked)
    with full.engine.connect() as tx:
        (row,) = tx.execute(sa.select(t.decisions).where(t.decisions.c.queue == "Q"))
    assert (row.actor, row.repeated, row.why["requests"]) == ("dispatcher", 1, 3)
    assert api.post("pilot/acquire_jobs", {**asked, "memory": 3000})["success"]


@on_both_databases
def test_the_place_of_a_share(api: Any, full: FullWorld, engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        shares.set_shares(tx, [Share("a", None, 60), Share("b", None, 40)])
        tx.execute(sa.update(t.tasks).values(gshare="b", resource_type="SCORE"))
        tx.execute(sa.update(t.jobs).values(gshare="b", resource_type="SCORE"))
        counts.replace(tx, now=clock())
    found = steps(api.get("task/why", task_id=full.jeditaskid))
    assert found["partition"]["says"] == ("2 jobs of b/SCORE are queued, 0 run; 5000 may be queued; it had no turn yet")
    assert found["share order"]["says"] == "b is number 1 of 1: target 1.0 cores, 0 run, 2 wait"


def test_the_partition_of_a_task(api: Any, full: FullWorld, engine: sa.Engine, clock: ManualClock) -> None:
    """A work queue with a limit holds its tasks; who works on it, and what it waits for."""
    with engine.begin() as tx:
        shares.set_work_queues(tx, [WorkQueue(7, "urgent", "any", "any")])
        tx.execute(sa.update(t.tasks).values(work_queue_id=7))
        counts.replace(tx, now=clock())
    assert "partition" not in steps(api.get("task/why", task_id=full.jeditaskid))
    key = "WORK_QUEUE_QUEUED_MAX_urgent"
    with engine.begin() as tx:
        settings.set_value(tx, "jobthrottle", key, "jedi", "2", kind="int", now=clock())
        lease = leases.acquire(tx, "job_generator work queue urgent", "agent 1", until=clock(), now=clock())
    step = steps(api.get("task/why", task_id=full.jeditaskid))["partition"]
    assert step["says"] == "2 jobs of work queue urgent are queued, 0 run; 2 may be queued; agent 1 works on it"
    assert step["gates"][0]["change"] == f"1 fewer queued jobs, or {key} above 2"
    assert (step["passes"], step["partition"], step["held_by"]) == (False, "work queue urgent", "agent 1")
    with engine.begin() as tx:
        assert lease is not None
        leases.release(tx, lease)
    clock.advance(seconds=30)
    step = steps(api.get("task/why", task_id=full.jeditaskid))["partition"]
    assert step["says"].endswith("2 may be queued; it had its turn 30 s ago")


@on_both_databases
def test_a_queue_tells_for_how_many_tasks_it_is_chosen(api: Any, full: FullWorld) -> None:
    found = steps(api.get("queue/why", queue="Q", changes=json.dumps(["memory=1000"])))
    assert (found["broker"]["passes"], found["broker"]["chosen_for"]) == (True, [full.jeditaskid])
    found = steps(api.get("queue/why", queue="P"))
    assert found["broker"]["says"] == "chosen for 0 of 1 tasks with inputs left"
    assert [step["passes"] for step in found.values()] == [False, False, False]


def test_a_job_that_failed_tells_who_must_act(api: Any, full: FullWorld) -> None:
    (job, _) = full.jobs()
    with full.engine.begin() as tx:
        values = {"status": "failed", "pilot_error_code": 1099, "pilot_error_diag": "no file", "lease_until": None}
        tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == job).values(values))
    answer = api.get("job/why", job_id=job)
    assert answer["data"]["stopped_by"] == "state"
    assert "pilot 1099: no file" in steps(answer)["state"]["says"]


def test_pilots_without_work_cost_a_record_a_minute(api: Any, full: FullWorld, clock: ManualClock, app: Flask) -> None:
    """However often they ask, and whatever the queue is called."""
    for _ in range(50):
        api.post("pilot/acquire_jobs", {"site_name": "P"})
    assert not api.post("pilot/acquire_jobs", {"site_name": "NO_QUEUE"})["success"]
    with full.engine.connect() as tx:
        rows = list(tx.execute(sa.select(t.decisions)))
    assert [(row.queue, row.repeated) for row in rows] == [("P", 0)]
    clock.advance(seconds=timedelta(minutes=1).total_seconds())
    api.post("pilot/acquire_jobs", {"site_name": "P"})
    with full.engine.connect() as tx:
        assert tx.execute(sa.select(t.decisions.c.repeated)).scalar_one() == 1


def test_a_task_that_waits_for_a_nucleus(api: Any, full: FullWorld, engine: sa.Engine) -> None:
    """The task broker is asked, by the same question as the agent's."""
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="Q", endpoint="file://", path="/out")
        tx.execute(sa.update(t.tasks).values(status="assigning"))
    assert steps(api.get("task/why", task_id=full.jeditaskid))["nucleus"]["chosen"] == ["DISK"]
    with engine.begin() as tx:
        tx.execute(sa.update(t.storages).values(state="INACTIVE"))
    answer = api.get("task/why", task_id=full.jeditaskid)
    gate = {"gate": "storage is not active", "in": 1, "out": 0, "example": "DISK"}
    change = {"change": "set its state from INACTIVE to ACTIVE"}
    assert (answer["data"]["stopped_by"], steps(answer)["nucleus"]["gates"]) == ("nucleus", [gate | change])


def test_a_reason_that_nobody_repeats_is_told(api: Any, full: FullWorld, engine: sa.Engine) -> None:
    """Such as a dataset that was not found; that no queue fits the broker tells, as it is now."""
    with engine.begin() as tx:
        tx.execute(sa.update(t.tasks).values(status="paused", old_status="ready", error_dialog="by hand"))
    assert "reason" not in steps(api.get("task/why", task_id=full.jeditaskid))
    found = steps(api.get("task/why", task_id=full.jeditaskid, changes=json.dumps(["memory=1"])))
    assert list(found)[:2] == ["state", "reason"]
    assert (found["state"]["passes"], found["reason"]["says"]) == (False, "by hand")


@on_both_databases
def test_more_jobs_wait_for_the_scouts(api: Any, full: FullWorld, engine: sa.Engine) -> None:
    """Two scouts were wanted and are made; the rest of the inputs waits for their figures (manual ch. 15)."""
    with engine.begin() as tx:
        tx.execute(sa.update(t.jobs).values(is_scout=True))
        tx.execute(sa.update(t.tasks).values(status="scouting", n_scouts=2, ram_count_mb=0))
    answer = api.get("task/why", task_id=full.jeditaskid)
    assert answer["data"]["stopped_by"] == "scouts"
    assert steps(answer)["scouts"]["says"] == "of 2 scouts 0 are done, 2 on their way, 0 in vain"
    with engine.begin() as tx:
        tx.execute(sa.update(t.tasks).values(n_scouts=3))
    found = steps(api.get("task/why", task_id=full.jeditaskid))
    assert (found["scouts"]["passes"], found["broker"]["chosen"]) == (True, ["Q"])
    with engine.begin() as tx:
        tx.execute(sa.update(t.tasks).values(status="running", optimisation_stage=1))
    assert "scouts" not in steps(api.get("task/why", task_id=full.jeditaskid))


def test_a_task_that_is_left_alone_says_until_when(
    api: Any, full: FullWorld, engine: sa.Engine, clock: ManualClock
) -> None:
    """Nobody stops it, but nobody looks at it either."""
    until = clock() + timedelta(hours=1)
    with engine.begin() as tx:
        queues.set_queue(tx, "Q", {"maxrss": 8000}, now=clock())
        tx.execute(sa.delete(t.job_files))
        tx.execute(sa.update(t.jobs).values(status="cancelled"))
        tx.execute(sa.update(t.tasks).values(status="pending", old_status="running", next_round_at=until))
    answer = api.get("task/why", task_id=full.jeditaskid)
    assert answer["data"]["stopped_by"] == "state"
    assert steps(answer)["state"]["says"].startswith(f"pending until {until:%Y-%m-%d %H:%M:%S} UTC")
    tried = api.get("task/why", task_id=full.jeditaskid, changes=json.dumps(["memory=1"]))
    assert tried["data"]["stopped_by"] is None


def test_changes_are_tried_by_every_step_or_refused(api: Any, full: FullWorld, clock: ManualClock) -> None:
    api.post("pilot/acquire_jobs", {"site_name": "P"})
    found = steps(api.get("queue/why", queue="P"))
    assert (found["status"]["passes"], found["dispatcher"]["says"]) == (
        False,
        "P is offline, ACTIVE: no pilots are sent to it",
    )
    answer = api.get("queue/why", queue="P", changes=json.dumps(["status=online"]))
    found = steps(answer)
    assert (answer["data"]["status"], found["status"]["says"]) == ("online", "online, ACTIVE; jobs: none")
    assert "no pilots are sent" not in found["dispatcher"]["says"]
    job = min(full.jobs())
    with full.engine.begin() as tx:
        queues.set_queue(tx, "Q", {"status": "offline"}, now=clock())
    assert not steps(api.get("job/why", job_id=job))["dispatcher"]["passes"]
    refused = api.get("job/why", job_id=job, changes=json.dumps(["memory=2000"]))
    assert not refused["success"]
    assert "a job that is made keeps what it asks for" in refused["message"]
