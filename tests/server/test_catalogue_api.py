"""Datasets, queues and jobs as users see them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from patience import until_somebody_waits

from bamboo.core.clock import ManualClock
from bamboo.sql import catalogue, queues
from bamboo.sql.tables import archived_jobs, jobs

FILES = [
    {"lfn": f"f{n}", "url": f"file:///data/f{n}", "size_bytes": n, "adler32": f"{n:x}", "guid": f"g{n}"}
    for n in range(5)
]


def test_files_are_registered_once(api: Any) -> None:
    added = api.post("dataset/add_files", {"dataset": "user.alice.in", "files": FILES, "create": True})
    assert added["data"] == {"added": 5, "known": 0}
    more = [*FILES, {**FILES[0], "url": "/elsewhere/f0"}, {**FILES[0], "lfn": "f9", "url": "/data/f9", "guid": ""}]
    again = api.post("dataset/add_files", {"dataset": "user.alice.in/", "files": more})
    assert again["data"] == {"added": 1, "known": 6}
    first = api.get("dataset/get_files", dataset="user.alice.in", limit=2)["data"]
    assert first == [
        {**file, "adler32": str(file["adler32"]).rjust(8, "0"), "scope": "user.alice", "n_events": None}
        for file in FILES[:2]
    ]
    rest = api.get("dataset/get_files", dataset="user.alice.in", after="f1")["data"]
    assert [row["lfn"] for row in rest] == ["f2", "f3", "f4", "f9"]


def test_a_file_with_another_content_is_refused(api: Any) -> None:
    """It was counted as there already, and tasks went on with the size and checksum of before."""
    api.post("dataset/add_files", {"dataset": "user.alice.in", "files": FILES})
    new = {**FILES[0], "lfn": "new"}
    changed = [{**FILES[1], "size_bytes": 7}, {**FILES[2], "adler32": "ff"}, new, {**new, "size_bytes": 8}]
    answer = api.post("dataset/add_files", {"dataset": "user.alice.in", "files": [*changed, FILES[3]]})
    assert (answer["success"], answer["status"]) == (False, 422)
    assert [fault["where"] for fault in answer["errors"]] == ["file f1", "file f2", "file new"]
    told = "file f1: is registered with 1 bytes and adler32 00000001, here it has 7 bytes and adler32 00000001"
    assert told in answer["message"]
    assert "another file name" in answer["errors"][0]["do"]
    rows = api.get("dataset/get_files", dataset="user.alice.in")["data"]
    assert [(row["lfn"], row["size_bytes"]) for row in rows] == [(f"f{n}", n) for n in range(5)]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_another_content_is_refused_though_it_comes_at_the_same_moment(
    api: Any, engine: sa.Engine, clock: ManualClock
) -> None:
    api.post("dataset/add_files", {"dataset": "user.alice.in", "files": [], "create": True})
    body = {"dataset": "user.alice.in", "files": [FILES[1], {**FILES[2], "size_bytes": 9}]}
    with engine.connect() as tx, ThreadPoolExecutor() as pool:
        dataset = catalogue.dataset_id(tx, "user.alice.in")
        rows = [{**file, "adler32": str(file["adler32"]).rjust(8, "0")} for file in FILES]
        assert catalogue.add_files(tx, dataset, rows, now=clock()) == 5
        later = pool.submit(api.post, "dataset/add_files", body)
        until_somebody_waits(engine)
        tx.commit()
        answer = later.result()
    assert (answer["success"], [fault["where"] for fault in answer["errors"]]) == (False, ["file f2"])


def test_nobody_adds_files_to_a_dataset_of_somebody_else(api: Any, bob: Any) -> None:
    """A task reads all files of its dataset: whoever adds one changes what others compute."""
    api.post("dataset/add_files", {"dataset": "user.alice.in", "files": FILES[:1]})
    for create in (True, False):
        answer = bob.post("dataset/add_files", {"dataset": "user.alice.in", "files": FILES[1:], "create": create})
        assert (answer["success"], answer["status"], answer["code"]) == (False, 403, "BAM-AUTH-002")
        assert answer["message"].startswith("dataset user.alice.in belongs to alice, not to bob")
    assert [row["lfn"] for row in api.get("dataset/get_files", dataset="user.alice.in")["data"]] == ["f0"]
    assert bob.get("dataset/get_files", dataset="user.alice.in")["success"]


def test_datasets_are_listed_by_pages(api: Any) -> None:
    for name in ("user.a_b", "user.axb", "user.c"):
        api.post("dataset/add_files", {"dataset": name, "files": FILES[:2], "create": True})
    rows = api.get("dataset/list", pattern="user.a*")["data"]
    assert [(row["name"], row["nFiles"], row["sizeBytes"]) for row in rows] == [("user.a_b", 2, 1), ("user.axb", 2, 1)]
    assert [row["name"] for row in api.get("dataset/list", pattern="user.a_b")["data"]] == ["user.a_b"]
    assert [row["name"] for row in api.get("dataset/list", after="user.axb", limit=1)["data"]] == ["user.c"]
    assert api.get("dataset/list", pattern="' OR 1=1 --")["data"] == []


def test_all_faults_of_files_are_told_and_none_is_stored(api: Any) -> None:
    bad = [
        {"lfn": "a/b", "url": "file:///x", "size_bytes": -1, "adler32": "xyz"},
        {"lfn": "a,b", "url": "file:///x", "size_bytes": 1, "adler32": "1", "sise": 1},
    ]
    answer = api.post("dataset/add_files", {"dataset": "user.alice.in", "files": [*bad, FILES[0]], "create": True})
    assert {fault["where"] for fault in answer["errors"]} == {
        "files[0].lfn",
        "files[0].size_bytes",
        "files[0].adler32",
        "files[1].lfn",
        "files[1].sise",
    }
    answer = api.post("dataset/add_files", {"dataset": "user.alice.in", "files": [{**FILES[0], "url": "x y"}]})
    assert [fault["where"] for fault in answer["errors"]] == ["files[0].url"]
    assert api.get("dataset/list")["data"] == []
    many = [{**FILES[0], "lfn": str(n)} for n in range(1001)]
    assert api.post("dataset/add_files", {"dataset": "d", "files": many})["errors"][0]["where"] == "files"


def test_a_dataset_that_is_not_there(api: Any) -> None:
    assert api.get("dataset/get_files", dataset="user.nobody")["status"] == 404
    answer = api.post("dataset/add_files", {"dataset": "user.nobody", "files": [], "create": False})
    assert answer["status"] == 404


def test_queues(api: Any, world: Any) -> None:
    world.jobs(2)
    (row,) = api.get("queue/list")["data"]
    assert (row["nickname"], row["status"], row["jobs"]) == ("LOCAL", "online", {"activated": 2})
    assert api.post("queue/set", {"queue": "LOCAL", "attributes": {"corecount": 8, "catchall": "x"}})["success"]
    row = api.get("queue/get", queue="LOCAL")["data"]
    assert (row["corecount"], row["catchall"], row["jobs"]) == (8, "x", {"activated": 2})
    assert api.get("queue/get", queue="NOWHERE")["status"] == 404
    answer = api.post("queue/set", {"queue": "a b", "attributes": {"maxrss": -1, "status": "odd"}})
    assert {fault["where"] for fault in answer["errors"]} == {"maxrss", "status", "queue"}


def test_queues_say_where_their_values_are_from_and_who_changed_them(api: Any) -> None:
    api.post("queue/set", {"queue": "NEW", "attributes": {"maxrss": 2000, "status": "test"}})
    api.post("queue/set", {"queue": "NEW", "attributes": {"maxrss": 4000}, "unset": ["status"]})
    row = api.get("queue/get", queue="NEW")["data"]
    assert (row["maxrss"], row["status"]) == (4000, "online")
    assert (row["origins"]["maxrss"], row["origins"]["status"]) == ("set by hand", "default")
    last, first = api.get("queue/history", queue="NEW")["data"]
    assert (last["what"], last["before"], last["after"]) == (
        "set",
        {"maxrss": 2000, "status": "test"},
        {"maxrss": 4000, "status": "online"},
    )
    assert (first["what"], first["before"], first["after"]["maxrss"]) == ("entered", {}, 2000)
    assert first["actor"] == last["actor"] != ""
    assert len(api.get("queue/history", queue="NEW", limit=1)["data"]) == 1
    assert api.get("queue/history", queue="NOWHERE")["status"] == 404
    refused = api.post("queue/set", {"queue": "NEW", "attributes": {}, "unset": ["status"]})
    assert refused["errors"] == [{"where": "status", "what": "it was not set by hand", "do": "set by hand: maxrss"}]


def test_a_queue_that_is_new_is_told_and_can_be_removed(api: Any, world: Any) -> None:
    """A slip in the name made a queue for good, and the answer was that of a change."""

    def _set(queue: str, **more: Any) -> str:
        return str(api.post("queue/set", {"queue": queue, "attributes": {"maxrss": 1}, **more})["message"])

    assert _set("NEWQ") == "queue NEWQ is new"
    assert _set("NEWQ") == "queue NEWQ: set"
    assert _set("NEWQ", attributes={}, unset=["maxrss"]) == "queue NEWQ: maxrss given back"
    assert api.post("queue/remove", {"queue": "NEWQ"})["message"] == "queue NEWQ is removed"
    assert api.get("queue/get", queue="NEWQ")["status"] == 404
    last = api.get("queue/history", queue="NEWQ")["data"][0]
    assert (last["what"], last["before"]["status"], last["after"]) == ("removed", "online", {})
    assert api.post("queue/remove", {"queue": "NEWQ"})["status"] == 404
    world.jobs(2)
    refused = api.post("queue/remove", {"queue": "LOCAL"})
    assert (refused["success"], "queue LOCAL has 2 jobs" in refused["message"]) == (False, True)


def test_a_storage_that_does_not_exist_is_a_fault(api: Any, engine: sa.Engine) -> None:
    given = {"queue": "NEWQ", "attributes": {"storage": "DISC"}}
    assert api.post("queue/set", given)["success"]  # no storage at all is entered: pilots know them from elsewhere
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="S", endpoint="file://", path="/s")
        assert queues.unknown_storages(tx) == [("NEWQ", "DISC")]
    fault = {"where": "storage", "what": "there is no storage DISC", "do": "did you mean 'DISK'?"}
    assert api.post("queue/set", given)["errors"] == [fault]
    api.post("queue/set", {"queue": "NEWQ", "attributes": {"storage": "DISK"}})
    assert api.get("queue/get", queue="NEWQ")["data"]["storage"] == "DISK"


def test_queues_are_changed_from_this_machine_only(app: Flask) -> None:
    body = {"queue": "LOCAL", "attributes": {}}
    for address, is_allowed in (("127.0.0.1", True), ("::1", True), ("10.1.2.3", False), ("", False)):
        answer = app.test_client().post("/api/v1/queue/set", json=body, environ_base={"REMOTE_ADDR": address}).json
        assert answer["success"] is is_allowed, address
        assert is_allowed or answer["status"] == 401  # a name alone is believed on this machine only


def test_jobs_are_listed_by_pages(api: Any, world: Any) -> None:
    task_id = world.task()
    ids = world.jobs(5, task=task_id)
    world.jobs(1)
    api.post("pilot/acquire_jobs", {"computing_element": "LOCAL"})
    assert [row["PandaID"] for row in api.get("job/list", task_id=task_id)["data"]] == ids
    assert [row["PandaID"] for row in api.get("job/list", task_id=task_id, after=ids[1], limit=2)["data"]] == ids[2:4]
    assert [row["PandaID"] for row in api.get("job/list", task_id=task_id, status="sent,running")["data"]] == ids[:1]
    assert api.get("job/list", status="dancing")["errors"][0]["where"] == "status[0]"
    assert len(api.get("job/list")["data"]) == 6


def test_archived_jobs_are_shown_like_the_others(api: Any, world: Any, engine: sa.Engine) -> None:
    task_id = world.task()
    ids = world.jobs(3, task=task_id)
    with engine.begin() as tx:
        tx.execute(sa.update(jobs).where(jobs.c.pandaid == ids[0]).values(status="failed", sup_error_code=5))
        names = [column.name for column in archived_jobs.columns]
        old = sa.select(*(jobs.c[name] for name in names)).where(jobs.c.pandaid == ids[0])
        tx.execute(sa.insert(archived_jobs).from_select(names, old))
        tx.execute(sa.delete(jobs).where(jobs.c.pandaid == ids[0]))
    assert [row["PandaID"] for row in api.get("job/list", task_id=task_id)["data"]] == ids
    assert api.get("job/get_detailed_info", job_id=ids[0])["data"]["jobStatus"] == "failed"
    assert api.get("task/get_job_ids", task_id=task_id)["data"] == ids
    info = api.get("task/get_detailed_info", task_id=task_id)["data"]
    assert info["jobs"] == {"activated": 2, "failed": 1}
    assert [(row["source"], row["code"], row["example_job"]) for row in info["errors"]] == [("sup", 5, ids[0])]
    told = api.get("pilot/get_job_status", job_ids=ids[0])["data"]
    assert told == [{"job_id": ids[0], "status": "failed", "attempt_number": 1}]


def test_a_job_with_its_story(api: Any, claim: Callable[..., Any]) -> None:
    job = claim()
    told = {"job_id": job["PandaID"], "attempt_nr": 1, "job_status": "running", "stdout": "hello"}
    api.post("pilot/update_job", told)
    row = api.get("job/get_detailed_info", job_id=job["PandaID"])["data"]
    assert (row["jobStatus"], row["stdoutTail"], row["parameters"]) == ("running", "hello", "-p x")
    assert [event["new"] for event in row["events"]] == ["activated", "sent", "running"]
    assert [(file["lfn"], file["type"], file["dataset"]) for file in row["files"]] == [
        ("000001.output", "output", "user.alice.output"),
        ("000001.log", "log", "user.alice.log"),
    ]
    assert api.get("job/get_detailed_info", job_id=1_000_000)["status"] == 404


@pytest.mark.parametrize("user", ["", "a\tb", "x" * 129, "<script>"])
def test_names_that_cannot_be_users(api: Any, user: str) -> None:
    api.user = user
    assert api.get("task/get_tasks_detailed_info_since")["errors"][0]["where"] == "X-Bamboo-User"


def test_jobs_of_a_task_that_is_not_there(api: Any, world: Any) -> None:
    answer = api.get("job/list", task_id=77)
    assert (answer["status"], "task 77" in answer["message"]) == (404, True)
    assert api.get("job/list", task_id=world.task())["data"] == []


def test_a_slip_in_a_key_of_a_queue_is_told(api: Any, world: Any) -> None:
    world.queue("LOCAL")
    answer = api.post("queue/set", {"queue": "LOCAL", "attributes": {"maxrsss": 3, "my_own": 1}})
    assert [(fault["where"], fault["do"]) for fault in answer["errors"]] == [("maxrsss", "did you mean 'maxrss'?")]
    assert api.post("queue/set", {"queue": "LOCAL", "attributes": {"my_own": 1}})["success"]
