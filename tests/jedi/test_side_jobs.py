"""Build jobs before run jobs, and merge jobs after them: driven by the agents, with pilots that are played here."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.service import Service
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.daemon.chores import adder, watcher
from bamboo.daemon.context import Context as ChoreContext
from bamboo.jedi.agents import AGENTS
from bamboo.jedi.context import Context
from bamboo.plugins.manager import Plugins
from bamboo.server.app import create_app
from bamboo.sql import catalogue, datasets, decisions, queues, tasks
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import on_both_databases

OUTPUT = "user.alice.$JEDITASKID._${SN/P}.x.txt"


class Played:
    """A system whose pilots are played by the test."""

    def __init__(self, engine: sa.Engine, clock: ManualClock, folder: Path, **sections: Any) -> None:
        settings = Settings(server={"cache_dir": folder}, **sections)
        plugins = Plugins(settings, engine, clock)
        self.engine, self.clock = engine, clock
        self.client = create_app(settings, engine, clock).test_client()
        context = Context(engine, clock, settings, plugins)
        self.agents: list[Service] = [agent(context) for agents in AGENTS.values() for agent in agents]
        chore = ChoreContext(engine=engine, clock=clock, settings=settings, plugins=plugins)
        self.chores: list[Service] = [adder.build(chore), watcher.build(chore)]
        with engine.begin() as tx:
            queues.set_storage(tx, "DISK", site="S", endpoint="file://localhost", path="/storage")
            queues.set_queue(tx, "Q", {"site": "S", "storage": "DISK"}, now=clock())

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(f"/api/v1/{path}", json=body, headers={"X-Bamboo-User": "alice"}).json

    def submit(self, **changes: Any) -> int:
        parameters = {
            "taskName": "user.alice.t/",
            "vo": "bamboo",
            "prodSourceLabel": "user",
            "noInput": True,
            "nEvents": 3,
            "nEventsPerJob": 1,
            "maxAttempt": 2,
            "sourceURL": "http://h",
            "jobParameters": [
                {"type": "constant", "value": "-r . -l ${LIB}" if "buildSpec" in changes else "-r ."},
                {
                    "type": "template",
                    "param_type": "output",
                    "value": OUTPUT,
                    "dataset": "user.alice.t_x/",
                    "hidden": True,
                },
                {"type": "constant", "value": f"-o \"{{'x.txt': '{OUTPUT}'}}\""},
            ],
            "log": {
                "type": "template",
                "param_type": "log",
                "value": "t.log.${SN}.tgz",
                "dataset": "user.alice.t.log/",
            },
            **changes,
        }
        answer = self.post("task/submit", {"task_parameters": parameters, "parent_tid": None})
        assert answer["success"], answer
        return int(answer["data"])

    def rounds(self, n: int = 3, seconds: float = 31) -> None:
        for _ in range(n):
            for service in (*self.agents, *self.chores):
                service.run_once()
            self.clock.advance(seconds=seconds)

    def claim(self, n: int = 100) -> list[Any]:
        answer = self.post("pilot/acquire_jobs", {"computing_element": "Q", "prod_source_label": "user", "n_jobs": n})
        return answer["data"]["jobs"] if answer["success"] else []

    def report(self, job: Any, state: str = "finished") -> None:
        body = {"job_id": job["PandaID"], "job_status": state, "attempt_nr": job["attemptNr"]}
        if state == "finished":
            entry = {"guid": "g", "fsize": 3, "adler32": "00000002"}
            made = {lfn: {**entry, "surl": f"file:///storage/{lfn}"} for lfn in job["outFiles"].split(",") if lfn}
            body["job_output_report"] = json.dumps(made)
        else:
            body |= {"pilot_error_code": 1305, "pilot_error_diag": "it failed"}
        assert self.post("pilot/update_job", body)["success"]

    def status(self, task: int) -> str:
        with self.engine.connect() as tx:
            assert datasets.recount(tx, task) == {}
            return str(tasks.get_task(tx, task).status)

    def why(self, task: int) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/task/why?task_id={task}", headers={"X-Bamboo-User": "alice"}).json
        steps = {step["who"]: step["says"] for step in answer["data"]["steps"]}
        return {**steps, "stopped_by": answer["data"]["stopped_by"]}

    def lfns(self, dataset: str) -> list[str]:
        with self.engine.connect() as tx:
            return [row.lfn for row in catalogue.list_files(tx, catalogue.dataset_id(tx, dataset))]


@pytest.fixture
def played(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Played:
    return Played(engine, clock, tmp_path)


BUILD = {
    "prodSourceLabel": "panda",
    "archiveName": "sources.1.tar.gz",
    "jobParameters": "-i ${IN} -o ${OUT} --sourceURL ${SURL} -r . ",
}
MERGE = {
    "useLocalIO": 1,
    "jobParameters": "-r . -a jobO.1.tar.gz --sourceURL ${SURL} ${TRN_OUTPUT:OUTPUT} ${TRN_LOG:LOG}",
}


def test_the_library_is_built_first_and_every_job_gets_it(played: Played) -> None:
    task = played.submit(buildSpec=BUILD)
    played.rounds()
    (build,) = played.claim()
    library = f"user.alice.t.{task}.000001.lib.tgz"
    assert build["transformation"].endswith("buildGen-00-00-01")
    assert build["jobPars"] == f"-i sources.1.tar.gz -o {library} --sourceURL http://h -r ."
    assert library in build["outFiles"].split(",")
    assert build["prodSourceLabel"] == "panda"
    played.rounds(1)
    assert played.claim() == []
    why = played.why(task)
    assert (why["stopped_by"], why["library"]) == ("library", "it is being built at Q")
    played.report(build)
    played.rounds()
    jobs = played.claim()
    assert len(jobs) == 3
    assert all(f"-l {library}" in job["jobPars"] for job in jobs)
    assert all(job["inFiles"] == library for job in jobs)
    assert all(job["inURLs"] == f"file:///storage/{library}" for job in jobs)
    for job in jobs:
        played.report(job)
    played.rounds()
    assert played.status(task) == "done"


def test_a_build_that_keeps_failing_breaks_the_task(played: Played) -> None:
    task = played.submit(buildSpec=BUILD)
    for _ in range(2):
        played.rounds()
        (build,) = played.claim()
        played.report(build, "failed")
    played.rounds()
    assert played.claim() == []
    assert played.status(task) == "broken"
    with played.engine.connect() as tx:
        assert "the build failed 2 times" in tasks.get_task(tx, task).error_dialog


def test_outputs_are_merged_and_inputs_counted_when_they_are(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE)
    played.rounds()
    jobs = played.claim()
    intermediate = [f"panda.um.user.alice.{task}._{n:06d}.x.txt" for n in (1, 2, 3)]
    assert [job["jobPars"] for job in jobs] == [f"-r . -o \"{{'x.txt': '{lfn}'}}\"" for lfn in intermediate]
    played.report(jobs[0])
    played.rounds()
    assert played.claim() == []  # the group is not full, and more is to come
    for job in jobs[1:]:
        played.report(job)
    played.rounds()
    assert played.status(task) == "running"
    with played.engine.connect() as tx:
        master = next(d for d in datasets.inputs(tx, task) if d.is_master)
        assert master.n_files_finished == 0
    (merge,) = played.claim()
    merged = f"user.alice.{task}._000004.x.txt"
    assert merge["transformation"].endswith("runMerge-00-00-02")
    assert merge["jobPars"] == f"-r . -a jobO.1.tar.gz --sourceURL http://h {','.join(intermediate)}:{merged}"
    assert merge["inFiles"] == ",".join(intermediate)
    played.report(merge)
    played.rounds()
    assert played.status(task) == "done"
    assert played.lfns("user.alice.t_x") == [merged]


def to_be_merged(played: Played) -> int:
    """A task whose run jobs are done, at a queue that takes nothing any more."""
    task = played.submit(mergeOutput=True, mergeSpec=MERGE)
    played.rounds()
    jobs = played.claim()
    with played.engine.begin() as tx:
        queues.set_queue(tx, "Q", {"status": "offline"}, now=played.clock())
        queues.set_queue(tx, "ELSEWHERE", {"storage": "DISK"}, now=played.clock())
    for job in jobs:
        played.report(job)
    played.rounds()
    return task


def merge_queues(played: Played) -> list[str]:
    with played.engine.connect() as tx:
        return list(tx.scalars(sa.select(t.jobs.c.queue).where(t.jobs.c.kind == "merge")))


def test_merge_jobs_wait_for_their_queue(played: Played) -> None:
    """Manual ch. 12.1: they are pre-assigned, as small files are not moved."""
    task = to_be_merged(played)
    assert merge_queues(played) == []
    with played.engine.connect() as tx:
        last = next(row for row in decisions.of_task(tx, task) if row.actor == "job_merger")
    assert (last.what, last.queue) == ("no merge jobs at Q", "Q")
    assert last.why["rejected"]["not online"] == {
        "count": 1,
        "example": "Q",
        "change": "set its status from offline to online",
    }
    with played.engine.begin() as tx:
        queues.set_queue(tx, "Q", {"status": "online"}, now=played.clock())
    played.rounds()
    assert merge_queues(played) == ["Q"]


def test_after_a_day_they_go_elsewhere(played: Played) -> None:
    to_be_merged(played)
    played.clock.advance(hours=23)
    played.rounds()
    assert merge_queues(played) == []
    played.clock.advance(hours=1)
    played.rounds()
    assert merge_queues(played) == ["ELSEWHERE"]


def test_a_failed_merge_is_tried_again_and_then_fails_its_jobs(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE, maxAttempt=1)
    played.rounds()
    for job in played.claim():
        played.report(job)
    for _ in range(3):
        played.rounds()
        (merge,) = played.claim()
        played.report(merge, "failed")
    played.rounds()
    assert played.claim() == []
    assert played.status(task) == "failed"
    with played.engine.connect() as tx:
        assert set(tx.scalars(sa.select(t.jobs.c.status))) == {JobState.FAILED}


def test_a_merge_job_whose_pilot_is_lost_gives_its_files_back(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE)
    played.rounds()
    for job in played.claim():
        played.report(job)
    played.rounds()
    (lost,) = played.claim()
    played.post("pilot/update_job", {"job_id": lost["PandaID"], "job_status": "running", "attempt_nr": 1})
    played.clock.advance(hours=2)
    played.rounds()
    (again,) = played.claim()
    assert again["PandaID"] != lost["PandaID"]
    played.report(again)
    played.rounds()
    assert played.status(task) == "done"


@pytest.mark.parametrize("verb", ["kill", "finish"])
def test_what_waits_to_be_merged_ends_with_its_task(played: Played, verb: str) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE)
    played.rounds()
    for job in played.claim()[:2]:
        played.report(job)
    played.rounds(1)
    assert played.post(f"task/{verb}", {"task_id": task})["success"]
    played.clock.advance(hours=2)
    played.rounds(4)
    assert played.status(task) == ("aborted" if verb == "kill" else "failed")


def test_a_soft_finish_merges_what_is_there(played: Played) -> None:
    task = played.submit(mergeOutput=True, mergeSpec=MERGE, nEvents=2)
    played.rounds()
    first, second = played.claim()
    played.report(first)
    played.rounds(1)
    assert played.post("task/finish", {"task_id": task, "soft": True})["success"]
    played.report(second, "failed")
    played.rounds(4)
    (merge,) = played.claim()
    played.report(merge)
    played.rounds(4)
    assert played.status(task) == "finished"


def submit_child(played: Played, parent: int, **changes: Any) -> int:
    body = {
        "taskName": "user.alice.child",
        "vo": "bamboo",
        "prodSourceLabel": "user",
        "jobParameters": [
            {"type": "template", "param_type": "input", "value": "-i ${IN/T}", "dataset": "user.alice.t_x/"}
        ],
        **changes,
    }
    return int(played.post("task/submit", {"task_parameters": body, "parent_tid": parent or None})["data"])


def test_a_task_waits_for_its_parent(played: Played) -> None:
    """And goes on at once when that is over, without a moment of waiting in between."""
    parent = played.submit()
    child = submit_child(played, parent)
    played.rounds()
    assert played.status(child) == "pending"
    for job in played.claim():
        played.report(job)
    played.rounds(4, seconds=0)
    assert played.status(parent) == "done"
    (job,) = played.claim()
    assert job["inFiles"].count(",") == 2
    played.report(job)
    played.rounds()
    assert played.status(child) == "done"


def test_a_child_waits_as_long_as_its_parent_is_at_work(played: Played) -> None:
    """Other tasks that are pending for two weeks are exhausted."""
    parent = played.submit()
    child = submit_child(played, parent)
    played.rounds()
    played.clock.advance(hours=24 * 15)
    played.rounds(1)
    assert played.status(child) == "pending"
    with played.engine.begin() as tx:
        tasks.update_task(tx, child, parent_tid=None, next_round_at=played.clock() + timedelta(days=1))
    played.rounds(1)
    assert played.status(child) == "exhausted"


@on_both_databases
def test_a_child_may_begin_with_what_its_parent_has_made(played: Played) -> None:
    """`prun --parentTaskID`: jobs as files come, and the end when the parent is over and all are done (ch. 4.1)."""
    parent = played.submit()
    child = submit_child(played, parent, noWaitParent=True, nFilesPerJob=1)
    played.rounds()
    assert played.status(child) == "ready"
    first, *others = played.claim()
    played.report(first)
    played.rounds()
    (job,) = played.claim()
    assert job["inFiles"] in first["outFiles"]
    played.report(job)
    played.rounds()
    assert played.status(child) == "running"  # all that there is is processed, but more may come
    for other in others:
        played.report(other)
    played.rounds(4, seconds=0)
    assert played.status(parent) == "done"
    last = played.claim()
    assert len(last) == 2
    for job in last:
        played.report(job)
    played.rounds(4, seconds=0)
    assert played.status(child) == "done"


def test_a_child_that_has_done_all_ends_with_its_parent(played: Played) -> None:
    parent = played.submit()
    child = submit_child(played, parent, noWaitParent=True, nFilesPerJob=1)
    played.rounds()
    first, *others = played.claim()
    played.report(first)
    played.rounds()
    played.report(played.claim()[0])
    for other in others:
        played.report(other, "failed")
    played.rounds()
    for other in played.claim():
        played.report(other, "failed")
    played.rounds(4, seconds=0)
    assert (played.status(parent), played.status(child)) == ("finished", "done")


def test_a_job_of_a_child_waits_for_all_its_files(played: Played) -> None:
    parent = played.submit(nEvents=3)
    submit_child(played, parent, noWaitParent=True, nFilesPerJob=2)
    played.rounds()
    made = played.claim()
    played.report(made[0])
    played.rounds()
    assert played.claim() == []
    played.report(made[1])
    played.rounds()
    (job,) = played.claim()
    assert job["inFiles"].count(",") == 1
    played.report(made[2])
    played.rounds()
    (job,) = played.claim()
    assert "," not in job["inFiles"]


@pytest.mark.parametrize("chosen", [{"nFiles": 2}, {"piece": {"offset": 1}}])
def test_a_child_that_takes_some_files_waits_for_all_of_them(played: Played, chosen: dict[str, Any]) -> None:
    piece = {"type": "template", "param_type": "input", "value": "${IN}", "dataset": "user.alice.t_x/"}
    piece |= chosen.pop("piece", {})
    child = submit_child(played, played.submit(), noWaitParent=True, jobParameters=[piece], **chosen)
    played.rounds()
    assert played.status(child) == "pending"


def test_parents_that_made_nothing_break_their_children(played: Played) -> None:
    parent = played.submit()
    assert played.post("task/kill", {"task_id": parent})["success"]
    child = submit_child(played, parent)
    played.rounds(5)
    assert (played.status(parent), played.status(child)) == ("aborted", "broken")
