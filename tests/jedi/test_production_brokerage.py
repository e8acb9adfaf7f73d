"""The production brokers in the agents: choices, reasons on record, the hour of waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskBroker, TaskRefiner
from bamboo.jedi.task_agent import Round
from bamboo.sql import grid, queues
from bamboo.sql import settings as shared_settings
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi, on_both_databases

PRODUCTION = "bamboo.plugins.production"


@pytest.fixture
def production(make_jedi: Callable[..., Jedi]) -> Jedi:
    return make_jedi(
        jobbroker={"modConfig": f":managed:{PRODUCTION}:ProductionJobBroker"},
        taskbroker={"modConfig": f":managed:{PRODUCTION}:ProductionTaskBroker"},
    )


def ready(jedi: Jedi, **parameters: object) -> Jedi:
    jedi.store("user.alice.in", "f1", "f2")
    jedi.submit(label="managed", nFilesPerJob=1, **parameters)
    jedi.run(TaskRefiner, ContentsFeeder)
    return jedi


@on_both_databases
def test_jobs_go_to_the_best_queue_with_reasons_on_record(production: Jedi, clock: ManualClock) -> None:
    production.queue("FAR", site="FAR")
    production.queue("NEAR", site="NEAR")
    production.queue("A_TEST")
    production.queue("SMALL", maxrss=1000)
    with production.engine.begin() as tx:
        queues.set_storage(tx, "NUCLEUS", site="HOME", endpoint="file://h", path="/n")
        grid.set_link(tx, "FAR", "HOME", now=clock(), closeness=11)
        grid.set_link(tx, "NEAR", "HOME", now=clock(), closeness=1)
        for queue in ("FAR", "NEAR", "SMALL"):
            grid.note_activity(tx, queue, n_batch_workers=5)
    ready(production, nucleus="NUCLEUS", currentPriority=500, ramCount=2000)
    assert production.run(JobGenerator) == [Round(done=1)]
    assert Counter(job.queue for job in production.jobs().values()) == {"NEAR": 2}
    (decision,) = production.decided()
    assert decision.why["chosen"] == ["NEAR", "FAR"]
    # (5 + 1) / 10, x 2 as no input is missing, x network: (2 + 1 + 10/11) / 2 and (2 + 1) / 2
    assert decision.why["weights"] == {"NEAR": pytest.approx(2.3455, abs=1e-4), "FAR": pytest.approx(1.8)}
    assert decision.why["rejected"]["test queue"]["example"] == "A_TEST"
    memory = decision.why["rejected"]["memory"]
    assert memory == {"count": 1, "example": "SMALL", "change": "maxrss of 1800 MB: it has 1000, for 1 cores"}


@on_both_databases
def test_a_unified_queue_is_resolved_by_the_resource_types_in_the_database(production: Jedi) -> None:
    production.queue("AGLT2", corecount=8, maxrss=32000, capability="ucore")
    production.queue("SLIM", corecount=8, maxrss=16000, catchall="unifiedPandaQueue")
    ready(production, coreCount=8, ramCount=3000)
    production.run(JobGenerator)
    assert {(job.queue, job.resource_type) for job in production.jobs().values()} == {("AGLT2", "MCORE_HIMEM")}
    (decision,) = production.decided()
    assert decision.why["pseudo_queues"] == {"AGLT2": "AGLT2/MCORE_HIMEM"}
    assert decision.why["rejected"]["pseudo-queue"]["example"] == "SLIM"


@on_both_databases
def test_without_a_queue_it_waits_for_an_hour_and_says_what_would_help(production: Jedi, clock: ManualClock) -> None:
    production.queue("SHUT", status="offline")
    ready(production)
    production.run(JobGenerator)
    assert production.task().status == "pending"
    assert "SHUT; to pass: set its status from offline to online" in production.task().error_dialog
    clock.advance(minutes=59)
    assert production.run(JobGenerator) == [Round()]
    clock.advance(minutes=1)
    assert production.run(JobGenerator) == [Round(done=1)]
    assert production.task().status == "pending"
    production.queue("SHUT", status="online")  # which wakes it
    assert production.run(JobGenerator) == [Round(done=1)]
    assert production.task().status == "running"


def test_what_a_source_measured_that_is_down_since_is_not_believed(production: Jedi, clock: ManualClock) -> None:
    production.queue("FAR", site="FAR")
    with production.engine.begin() as tx:
        queues.set_storage(tx, "NUCLEUS", site="HOME", endpoint="file://h", path="/n")
        grid.set_link(tx, "FAR", "HOME", now=clock(), queued={"Production Output": 5000}, measured_at=clock())
    ready(production, nucleus="NUCLEUS", currentPriority=500)
    production.run(JobGenerator)
    assert "4000 fewer files queued on its link to HOME" in production.task().error_dialog
    clock.advance(minutes=61)
    production.run(JobGenerator)
    assert production.task().status == "running"


def test_a_setting_in_the_database_changes_the_choice(production: Jedi, clock: ManualClock) -> None:
    production.queue("Q")
    with production.engine.begin() as tx:
        shared_settings.set_value(tx, "jobbroker", "PENDING_HOURS", "jedi", "0.1", kind="float", now=clock())
        grid.note_activity(tx, "Q", last_pilot_at=clock())
        clock.advance(hours=2)
        shared_settings.set_value(tx, "jobbroker", "NO_PILOT_HOURS", "jedi", "1", kind="float", now=clock())
    ready(production)
    production.run(JobGenerator)
    assert "the last one came 2.0 hours ago" in production.task().error_dialog
    with production.engine.begin() as tx:
        shared_settings.set_value(tx, "jobbroker", "NO_PILOT_HOURS", "jedi", "3", kind="float", now=clock())
    clock.advance(minutes=6)
    production.run(JobGenerator)
    assert production.task().status == "running"


def test_other_work_goes_by_the_built_in_rules(production: Jedi) -> None:
    production.queue("A_TEST")
    production.store("user.alice.in", "f1")
    production.submit(nFilesPerJob=1)
    production.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert [job.queue for job in production.jobs().values()] == ["A_TEST"]


def test_the_nucleus_is_where_the_inputs_are(production: Jedi) -> None:
    with production.engine.begin() as tx:
        for name, path in (("NEAR", "/f"), ("FAR", "/x/")):
            queues.set_storage(tx, name, site=name, endpoint="file:/", path=path)
            url = {"endpoint": "file://", "path": path, "free_bytes": 500 << 30}
            tx.execute(sa.update(t.storages).where(t.storages.c.storage == name).values(url))
    ready(production, cloud="WORLD")
    assert production.run(TaskBroker) == [Round(done=1)]
    assert production.task().nucleus == "NEAR"
    (decision,) = production.decided()
    assert decision.why["weights"] == {"NEAR": 1000.0, "FAR": 500.0}


@pytest.mark.parametrize("asked", [{"forceStaged": True}, {"useLocalIO": True}, {}])
def test_copies_that_are_asked_for_take_room(production: Jedi, asked: dict[str, bool]) -> None:
    """The gate took forced copies for direct reading, so that a job of 10 GB went where there were 4."""
    production.queue("SMALL", maxwdir=4000, direct_access_lan=True)
    production.store("user.alice.in", "f1", size_bytes=10 << 30)
    production.submit(label="managed", skipScout=True, **asked)
    production.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert production.task().status == ("pending" if asked else "running")
    assert ("scratch disk" in str(production.task().error_dialog)) is bool(asked)


def test_the_broker_takes_names_of_queues_with_blanks_between_them(production: Jedi) -> None:
    production.queue("B")
    ready(production, site="A, B")
    production.run(JobGenerator)
    assert {job.queue for job in production.jobs().values()} == {"B"}


@pytest.mark.parametrize(
    ("label", "given", "priority", "is_spread"),
    [
        ("user", {}, 1000, True),  # what every user has, who says nothing
        ("user", {"taskPriority": 1001}, 1001, False),
        ("managed", {}, 500, True),
        ("managed", {"taskPriority": 0}, 0, True),
        ("managed", {"taskPriority": 800}, 800, False),
    ],
)
def test_only_a_high_priority_keeps_jobs_at_the_nucleus(
    make_jedi: Callable[..., Jedi], label: str, given: dict[str, int], priority: int, is_spread: bool
) -> None:
    """Manual ch. 12.1: if priority 800. Tasks of which nobody said anything had 1000, and none of them was spread."""
    jedi = make_jedi(jobbroker={"modConfig": f"any:any:{PRODUCTION}:ProductionJobBroker"})
    jedi.queue("FAR", site="FAR")
    with jedi.engine.begin() as tx:
        queues.set_storage(tx, "NUCLEUS", site="HOME", endpoint="file://h", path="/n")
    jedi.store("user.alice.in", "f1", "f2")
    jedi.submit(label=label, nFilesPerJob=1, skipScout=True, nucleus="NUCLEUS", prodSourceLabel=label, **given)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    task = jedi.task()
    assert (task.task_priority, task.current_priority) == (priority, priority)
    assert task.status == ("running" if is_spread else "pending")
