"""Task Broker: a storage for the outputs of tasks that leave it open."""

from __future__ import annotations

import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskBroker, TaskRefiner
from bamboo.jedi.task_agent import Round
from bamboo.sql import queues
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import Jedi


def enter_storage(jedi: Jedi, name: str, state: str = "ACTIVE") -> None:
    with jedi.engine.begin() as tx:
        queues.set_storage(tx, name, site="S", endpoint="file://localhost", path="/s")
        tx.execute(sa.update(t.storages).where(t.storages.c.storage == name).values(state=state))


def assigning(jedi: Jedi, **parameters: str) -> Jedi:
    jedi.store("user.alice.in", "a")
    jedi.submit(cloud="WORLD", **parameters)
    jedi.run(TaskRefiner, ContentsFeeder)
    return jedi


def test_a_task_gets_a_nucleus_and_its_outputs_go_there(jedi: Jedi) -> None:
    enter_storage(jedi, "DOWN", "INACTIVE")
    enter_storage(jedi, "FAR")
    assigning(jedi)
    assert jedi.task().status == "assigning"
    assert jedi.run(TaskBroker) == [Round(done=1)]
    assert (jedi.task().status, jedi.task().nucleus) == ("ready", "FAR")
    (decision,) = jedi.decided()
    assert decision.what == "nucleus FAR"
    assert decision.why["rejected"] == {
        "storage is not active": {"count": 1, "example": "DOWN", "change": "set its state from INACTIVE to ACTIVE"}
    }
    enter_storage(jedi, "NEAR")
    jedi.queue(storage="NEAR")
    jedi.run(JobGenerator)
    with jedi.engine.connect() as tx:
        assert tx.scalar(sa.select(t.job_files.c.storage).where(t.job_files.c.type == "output")) == "FAR"


def test_without_a_storage_it_waits_and_goes_on_when_there_is_one(jedi: Jedi, clock: ManualClock) -> None:
    enter_storage(jedi, "DISK", "INACTIVE")
    assigning(jedi)
    assert jedi.run(TaskBroker) == [Round(postponed=1)]
    assert jedi.task().status == "pending"
    assert "no storage can take the outputs" in jedi.task().error_dialog
    clock.advance(minutes=1)
    jedi.run(TaskBroker)
    (decision,) = jedi.decided()
    assert (decision.what, decision.repeated) == ("no nucleus", 1)
    enter_storage(jedi, "DISK")
    clock.advance(minutes=1)
    assert jedi.run(TaskBroker) == [Round(done=1)]
    assert (jedi.task().status, jedi.task().nucleus) == ("ready", "DISK")


def test_a_task_that_names_its_nucleus_is_not_asked(jedi: Jedi) -> None:
    assert assigning(jedi, nucleus="HOME").task().status == "ready"


def test_a_nucleus_stays_when_the_task_is_run_again(jedi: Jedi) -> None:
    enter_storage(jedi, "DISK")
    assigning(jedi)
    jedi.run(TaskBroker)
    enter_storage(jedi, "AAA")  # would come first
    with jedi.engine.begin() as tx:
        tx.execute(sa.update(t.files).values(status="failed"))
    jedi.set(status="failed")
    assert jedi.command("retry", new_parameters={"ramCount": 5}).status == "done"
    assert (jedi.task().status, jedi.task().nucleus, jedi.task().ram_count_mb) == ("ready", "DISK", 5)
    jedi.set(status="finished")
    jedi.command("incexec")
    jedi.run(TaskRefiner, ContentsFeeder)
    assert (jedi.task().status, jedi.task().nucleus) == ("ready", "DISK")
    jedi.set(status="finished")
    jedi.command("incexec", new_parameters={"nucleus": "AAA"})
    jedi.run(TaskRefiner)
    assert jedi.task().nucleus == "AAA"
