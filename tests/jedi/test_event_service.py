"""The event service from task to merged output: driven by agents, chores and API, with pilots that are played here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.sql import catalogue, event_ranges
from bamboo.sql import tables as t
from bamboo.tests.jedi.rounds import on_both_databases
from bamboo.tests.jedi.test_side_jobs import OUTPUT, Played

MERGE = {"transPath": "runMerge-00-00-02", "jobParameters": "-r . ${TRN_OUTPUT:OUTPUT} ${TRN_LOG:LOG}"}


class Events(Played):
    """A system with one task of the event service: files of ten events, in ranges of four."""

    def store(self, *files: tuple[str, int | None]) -> None:
        rows = [
            {"lfn": lfn, "url": f"file:///{lfn}", "size_bytes": 5, "adler32": "00000001", "n_events": n}
            for lfn, n in files
        ]
        with self.engine.begin() as tx:
            dataset = catalogue.ensure_dataset(tx, "user.alice.in", user_name="alice", now=self.clock())
            catalogue.add_files(tx, dataset, rows, now=self.clock())

    def task(self, **more: Any) -> int:
        reads = {"type": "template", "param_type": "input", "value": "${IN}", "dataset": "user.alice.in"}
        output = {"type": "template", "param_type": "output", "value": OUTPUT, "dataset": "user.alice.t_x/"}
        pieces = [reads, {"type": "constant", "value": "-e ${SKIPEVENTS} ${MAXEVENTS}"}, {**output, "hidden": True}]
        given: dict[str, Any] = {
            "jobParameters": pieces,
            "nEventsPerWorker": 4,
            "mergeOutput": True,
            "mergeSpec": MERGE,
            "noInput": None,
            "nEvents": None,
            "nEventsPerJob": None,
            **more,
        }
        return self.submit(**given)

    def one(self) -> Any:
        """The one job that there is now, which begins to run."""
        (job,) = self.claim()
        self.tell_job(job, "running")
        return job

    def tell_job(self, job: Any, state: str) -> None:
        body = {"job_id": job["PandaID"], "job_status": state, "attempt_nr": job["attemptNr"]}
        assert self.post("pilot/update_job", body)["success"]

    def ranges(self, job: Any, n: int = 100, **more: Any) -> list[Any]:
        body = {"job_id": job["PandaID"], "task_id": job["taskID"], "jobset_id": 0, "n_ranges": n, **more}
        answer = self.post("event/acquire_event_ranges", body)
        assert answer["data"]["StatusCode"] == 0, answer
        return list(answer["data"]["eventRanges"])

    def told(self, job: Any, one: Any, state: str = "finished", **more: Any) -> Any:
        name = one["eventRangeID"]
        entry = {"eventRangeID": name, "eventStatus": state, **more}
        if state == "finished":
            planned = next(lfn for lfn in job["outFiles"].split(",") if lfn.endswith(".x.txt"))
            lfn = f"{planned}.{name}"
            made = {"lfn": lfn, "guid": "g", "fsize": 2, "adler32": "1", "surl": f"file:///storage/{lfn}"}
            entry["outputs"] = {planned: made}
        return self.post("event/update_event_ranges", {"event_ranges": [entry], "version": 2})

    def tell(self, job: Any, one: Any, state: str = "finished", **more: Any) -> bool:
        (answer,) = self.told(job, one, state, **more)["data"]["Returns"]
        return bool(answer)

    def states(self, task: int) -> dict[str, int]:
        with self.engine.connect() as tx:
            return event_ranges.counts_of_task(tx, task)

    def jobs(self) -> list[tuple[str, str]]:
        with self.engine.connect() as tx:
            rows = tx.execute(sa.select(t.jobs.c.kind, t.jobs.c.status).order_by(t.jobs.c.pandaid))
            return [(row.kind, row.status) for row in rows]

    def end(self, job: Any, state: str = "finished") -> None:
        """Report the end of a job with its log; what ranges have made is not a part of it."""
        with_log = {**job, "outFiles": ",".join(n for n in job["outFiles"].split(",") if ".log." in n)}
        self.report(job if job.get("processingType") == "pmerge" else with_log, state)
        self.rounds()


def spans(ranges: list[Any]) -> list[tuple[int, int]]:
    return [(one["startEvent"], one["lastEvent"]) for one in ranges]


@pytest.fixture
def system(engine: sa.Engine, clock: ManualClock, tmp_path: Path) -> Events:
    return Events(engine, clock, tmp_path)


@on_both_databases
def test_ranges_are_handed_out_finished_and_merged(system: Events) -> None:
    system.store(("f", 10))
    task = system.task()
    system.rounds()
    job = system.one()
    assert job["eventService"] == "True"
    assert "${SKIPEVENTS} ${MAXEVENTS}" in job["jobPars"]
    first, rest = system.ranges(job, 1), system.ranges(job)
    assert spans(first + rest) == [(1, 4), (5, 8), (9, 10)]
    assert system.ranges(job) == []
    assert all(system.tell(job, one) for one in first + rest)
    system.end(job)
    assert system.jobs() == [("run", "merging"), ("merge", "activated")]
    assert system.states(task) == {"done": 3}
    (merge,) = system.claim()
    assert [name.rsplit(".", 1)[1] for name in merge["inFiles"].split(",")] == [
        one["eventRangeID"] for one in first + rest
    ]
    system.tell_job(merge, "running")
    system.end(merge)
    assert system.status(task) == "done"
    assert system.states(task) == {"merged": 3}
    assert len(system.lfns("user.alice.t_x")) == 1


@on_both_databases
def test_what_is_merged_before_the_pilot_hears_of_the_end_is_not_processed_again(system: Events) -> None:
    system.store(("f", 10))
    task = system.task()
    system.rounds()
    job = system.one()
    assert all(system.tell(job, one) for one in system.ranges(job))
    system.end(job)
    merge = system.one()
    assert system.post("task/finish", {"task_id": task})["success"]
    by_name = {service.name: service for service in system.agents}
    by_name["task_commando"].run_once()
    by_name["watch_dog"].run_once()
    system.end(merge)
    assert system.status(task) == "done"
    assert system.states(task) == {"merged": 3}
    assert len(system.lfns("user.alice.t_x")) == 1


@on_both_databases
def test_a_dead_job_leaves_only_unfinished_ranges(system: Events) -> None:
    system.store(("f", 10))
    task = system.task()
    system.rounds()
    job = system.one()
    kept, lost = system.ranges(job, 2)
    assert system.tell(job, kept)
    assert system.tell(job, lost, "running")
    system.rounds(3, seconds=3600)  # nobody hears of the pilot any more
    assert system.jobs() == [("run", "failed"), ("run", "activated")]
    assert system.states(task) == {"done": 1, "ready": 2}
    again = system.one()
    todo = system.ranges(again)
    assert spans(todo) == [(5, 8), (9, 10)]
    assert not system.tell(job, lost), "a late word of the dead job"
    assert not system.tell(job, kept), "nor one about what it had finished"
    assert all(system.tell(again, one) for one in todo)
    system.end(again)
    (merge,) = system.claim()
    assert len(merge["inFiles"].split(",")) == 3
    system.tell_job(merge, "running")
    system.end(merge)
    assert (system.status(task), system.states(task)) == ("done", {"merged": 3})


def test_all_ranges_finished_are_merged_even_if_the_pilot_dies_then(system: Events) -> None:
    system.store(("f", 4))
    task = system.task()
    system.rounds()
    job = system.one()
    (only,) = system.ranges(job)
    assert system.tell(job, only)
    assert system.tell(job, only), "a repetition is no harm"
    system.rounds(3, seconds=3600)
    assert system.jobs() == [("run", "merging"), ("merge", "activated")]
    assert system.states(task) == {"done": 1}


def test_a_job_that_brought_nothing_costs_the_file_an_attempt(system: Events) -> None:
    """And one that brought something does not: with two attempts, this file has three jobs."""
    system.store(("f", 10))
    task = system.task(maxAttempt=2)
    system.rounds()
    for finishes in (False, True, False):
        job = system.one()
        one, *_ = system.ranges(job, 1)
        assert system.tell(job, one, "finished" if finishes else "running")
        system.end(job, "failed")
    assert Counter(system.jobs()) == Counter({("run", "failed"): 2, ("run", "merging"): 1, ("merge", "activated"): 1})
    assert system.states(task)["done"] == 1
    (merge,) = system.claim()
    system.tell_job(merge, "running")
    system.end(merge)
    with system.engine.connect() as tx:
        assert tx.scalars(sa.select(t.files.c.status)).one() == "partial"
    assert system.status(task) == "finished"  # not failed: an output has the events of a range
    assert system.states(task)["merged"] == 1


def test_the_error_of_ranges_is_told_by_their_job(system: Events) -> None:
    """The pilot ends well though ranges failed: what the payload said was in the log alone."""
    system.store(("f", 8))
    system.task(maxAttempt=2)
    system.rounds()
    job = system.one()
    good, bad = system.ranges(job)
    assert system.tell(job, good)
    assert system.tell(job, bad, "failed", errorDiag="payload ended with exit code 65: no licence")
    system.end(job)
    with system.engine.connect() as tx:
        row = tx.execute(sa.select(t.jobs).order_by(t.jobs.c.pandaid)).first()
    assert row is not None and row.sup_error_code == 303
    told = "event ranges failed: 1 to be tried again, 0 given up; events 5 to 8: "
    assert row.sup_error_diag == told + "payload ended with exit code 65: no licence"


def test_a_retried_task_processes_only_what_is_left(system: Events) -> None:
    system.store(("f", 8))
    task = system.task(maxAttempt=1)
    system.rounds()
    job = system.one()
    good, bad = system.ranges(job)
    assert system.tell(job, good) and system.tell(job, bad, "failed")
    system.end(job)
    (merge,) = system.claim()
    assert merge["inFiles"].count("x.txt.") == 1
    system.tell_job(merge, "running")
    system.end(merge)
    assert system.states(task) == {"merged": 1, "fatal": 1}
    assert system.post("task/retry", {"task_id": task})["success"]
    system.rounds()
    again = system.one()
    todo = system.ranges(again)
    assert spans(todo) == [(5, 8)]
    assert system.tell(again, todo[0])
    system.end(again)
    (merge,) = system.claim()
    assert merge["inFiles"].count("x.txt.") == 1
    system.tell_job(merge, "running")
    system.end(merge)
    assert (system.status(task), system.states(task)) == ("done", {"merged": 2})
    assert len(system.lfns("user.alice.t_x")) == 2


@on_both_databases
@pytest.mark.parametrize("n_done", [0, 1])
def test_a_task_that_finishes_softly_merges_what_is_done(system: Events, n_done: int) -> None:
    """Its last job left a file that was ready for another, and was given up with all that had been done of it."""
    system.store(("f", 10))
    task = system.task()
    system.rounds()
    job = system.one()
    ranges = system.ranges(job)
    assert all(system.tell(job, one) for one in ranges[:n_done])
    assert system.post("task/finish", {"task_id": task, "soft": True})["success"]
    system.rounds()
    assert system.status(task) == "finishing"
    system.end(job)
    if not n_done:
        assert (system.status(task), system.states(task)) == ("failed", {"cancelled": 3})
        return
    assert system.jobs() == [("run", "merging"), ("merge", "activated")]
    (merge,) = system.claim()
    system.tell_job(merge, "running")
    system.end(merge)
    assert system.status(task) in ("finished", "failed")
    assert system.states(task)["merged"] == 1
    assert len(system.lfns("user.alice.t_x")) == 1


def test_ranges_of_a_job_whose_merging_fails_are_processed_again(system: Events) -> None:
    system.store(("f", 4))
    task = system.task(maxAttempt=2)
    system.rounds()
    job = system.one()
    (only,) = system.ranges(job)
    assert system.tell(job, only)
    system.end(job)
    for _ in range(3):
        (merge,) = system.claim()
        system.tell_job(merge, "running")
        system.end(merge, "failed")
    assert Counter(kind for kind, _ in system.jobs()) == Counter({"merge": 3, "run": 2})
    assert system.states(task) == {"ready": 1}
    assert spans(system.ranges(system.one())) == [(1, 4)]


def test_an_answer_that_was_lost_is_given_again_under_a_new_name(system: Events) -> None:
    system.store(("f", 10))
    system.task()
    system.rounds()
    job = system.one()
    (held,) = system.ranges(job, 1)
    (lost,) = system.ranges(job, 1)
    got = system.ranges(job, in_hand=[held["eventRangeID"]], attempt_nr=job["attemptNr"])
    assert spans(got) == [(5, 8), (9, 10)]
    assert got[0]["eventRangeID"] != lost["eventRangeID"]
    assert not system.tell(job, lost)
    assert all(system.tell(job, one) for one in (held, *got))


def test_the_api_refuses_what_makes_no_sense_and_says_all_of_it(system: Events) -> None:
    system.store(("f", 10))
    system.task()
    system.rounds()
    job = system.one()
    one, other = system.ranges(job, 2)
    told = [
        {"eventRangeID": one["eventRangeID"], "eventStatus": "finished"},
        {"eventRangeID": other["eventRangeID"], "outputs": {}},
    ]
    answer = system.post("event/update_event_ranges", {"event_ranges": told})
    assert not answer["success"]
    assert "x.txt is missing" in answer["message"] and "event_ranges[1].eventStatus" in answer["message"]
    assert system.told(job, {"eventRangeID": "what"})["data"]["Returns"] == [False]
    body = {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"] + 1}
    assert not system.post("event/acquire_event_ranges", body)["success"]
    archive = {"zipFile": {"lfn": "z"}, "eventRanges": []}
    answer = system.post("event/update_event_ranges", {"event_ranges": [archive], "version": 1})
    assert "event_ranges[0].zipFile: ranges in archives are not taken" in answer["message"]
    with system.engine.connect() as tx:
        assert Counter(tx.scalars(sa.select(t.events.c.status))) == Counter({"sent": 2, "ready": 1})


def test_clients_see_the_ranges(system: Events) -> None:
    system.store(("f", 10))
    task = system.task()
    system.rounds()
    job = system.one()
    one, *_ = system.ranges(job, 1)
    assert system.tell(job, one, "failed")
    headers = {"X-Bamboo-User": "alice"}
    query = {"job_task_ids": f'{{"task_id": {task}, "panda_id": {job["PandaID"]}}}'}
    found = system.client.get("/api/v1/event/get_event_range_statuses", query_string=query, headers=headers).json
    states = Counter(entry["status"] for entry in found["data"][str(job["PandaID"])].values())
    assert states == Counter({"ready": 2, "failed": 1})
    asked = {"job_id": job["PandaID"]}
    left = system.client.get("/api/v1/event/get_available_event_range_count", query_string=asked, headers=headers).json
    assert left["data"] == 2
    info = system.client.get("/api/v1/task/get_detailed_info", query_string={"task_id": task}, headers=headers).json
    assert info["data"]["eventRanges"] == {"ready": 2, "failed": 1}


def test_files_that_cannot_be_cut_break_the_task_with_all_reasons(system: Events) -> None:
    system.store(("f", None), ("g", 10_000))
    task = system.task()
    system.rounds()
    with system.engine.connect() as tx:
        status, why = tx.execute(sa.select(t.tasks.c.status, t.tasks.c.error_dialog)).one()
    assert status in ("tobroken", "broken"), (task, status)
    assert "no events for 1 files, such as f" in why and "give at least 10" in why


def test_parameters_that_do_not_go_together(system: Events) -> None:
    parameters: dict[str, Any] = {"nEventsPerWorker": 4, "nFilesPerJob": 2}
    reads = {"type": "template", "param_type": "input", "value": "${IN} ${FIRSTEVENT}", "dataset": "d"}
    whole = {"taskName": "t", "vo": "v", "prodSourceLabel": "user", "jobParameters": [reads], **parameters}
    answer = system.post("task/submit", {"task_parameters": whole, "parent_tid": None})
    assert not answer["success"]
    for word in ("mergeOutput", "nFilesPerJob", "FIRSTEVENT"):
        assert word in answer["message"]
