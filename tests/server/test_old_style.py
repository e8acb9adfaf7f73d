"""/server/panda/<method> for clients: bodies known by their bytes, answers in the shapes of long ago."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from bamboo.server.old_style import METHODS
from bamboo.sql import tasks
from bamboo.sql.tables import commands, job_metadata

USER = {"X-Bamboo-User": "alice"}
CAPTURES = Path(__file__).parent / "captures"


def parameters() -> dict[str, Any]:
    """What prun submits for a hello world."""
    return dict(json.loads((CAPTURES / "hello.json").read_text())["task_parameters"])


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


def post(client: FlaskClient, method: str, user: str = "alice", **fields: Any) -> Any:
    """A form without a Content-Type, as clients since 2.2 send it."""
    body = urlencode({key: str(value) for key, value in fields.items()})
    return client.post(f"/server/panda/{method}", data=body, headers={"X-Bamboo-User": user})


def unpickled(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return pickle.loads(answer.data)  # noqa: S301 - our own server wrote it


def set_state(engine: sa.Engine, jeditaskid: int, state: str) -> None:
    with engine.begin() as tx:
        tasks.update_task(tx, jeditaskid, status=state)


def test_a_method_that_there_is_not(client: FlaskClient) -> None:
    answer = client.post("/server/panda/dance", data="a=1")
    assert (answer.status_code, answer.mimetype) == (403, "text/plain")
    assert answer.text == "ERROR : method dance is forbidden"
    assert client.get("/server/panda/__import__('os')").text == "ERROR : method __import____os__ is forbidden"


def test_a_task_from_submission_to_kill(client: FlaskClient, engine: sa.Engine) -> None:
    given = {"taskParams": json.dumps(parameters()), "properErrorCode": True, "parent_tid": None}
    code, told = unpickled(post(client, "insertTaskParams", **given))
    assert code == 0 and "jediTaskID=" in told
    task_id = int(told.rpartition("=")[2])
    code, told = unpickled(post(client, "insertTaskParams", **given))
    assert code == 2 and str(task_id) in told
    assert unpickled(post(client, "getTaskStatus", jediTaskID=task_id)) == ["registered"]
    code, text = unpickled(post(client, "getTaskParamsMap", jediTaskID=task_id))
    assert code == 0 and json.loads(text)["taskName"] == parameters()["taskName"]
    assert unpickled(post(client, "getPandaIDsWithTaskID", jediTaskID=task_id)) == []
    details = unpickled(post(client, "getJediTaskDetails", jediTaskID=task_id, fullFlag=True, withTaskInfo=True))
    assert details["status"] == "registered" and details["taskParams"]["taskName"] == parameters()["taskName"]
    changed = unpickled(post(client, "getJediTasksInTimeRange", timeRange="2025-12-31 00:00:00", fullFlag=True))
    assert changed[str(task_id)]["creationDate"] == "2026-01-01 00:00:00"
    done, told = unpickled(post(client, "killTask", jediTaskID=task_id))
    assert done is True and str(task_id) in told
    done, told = unpickled(post(client, "killTask", "bob", jediTaskID=task_id))
    assert done is False and "alice" in told


def test_commands_and_their_codes(client: FlaskClient, world: Any, engine: sa.Engine) -> None:
    task_id = world.task()
    set_state(engine, task_id, "running")
    assert unpickled(post(client, "finishTask", jediTaskID=task_id, soft=True))[0] is True
    assert unpickled(post(client, "pauseTask", jediTaskID=task_id))[0] == 0
    assert unpickled(post(client, "resumeTask", jediTaskID=task_id))[0] == 4
    assert unpickled(post(client, "pauseTask", "bob", jediTaskID=task_id))[0] == 3
    assert unpickled(post(client, "pauseTask", jediTaskID=5))[0] == 2
    assert unpickled(post(client, "increaseAttemptNrPanda", jediTaskID=task_id, increasedNr=2))[0] == 0
    set_state(engine, task_id, "finished")
    assert unpickled(post(client, "retryTask", jediTaskID=task_id, properErrorCode=True))[0] == 0
    new = json.dumps({"nFilesPerJob": 2})
    assert unpickled(post(client, "retryTask", jediTaskID=task_id, newParams=new))[0] == 3
    assert unpickled(post(client, "retryTask", "bob", jediTaskID=task_id, newParams=new))[0] == 1  # 3 would be a yes
    assert unpickled(post(client, "reloadInput", jediTaskID=task_id))[0] == 0
    assert unpickled(post(client, "reactivateTask", jediTaskID=task_id))[0] == 0
    with engine.begin() as tx:
        given = tx.execute(sa.select(commands.c.command, commands.c.parameters)).all()
    assert [tuple(row) for row in given] == [
        ("finish", {"soft": True}),
        ("pause", {}),
        ("increase_attempts", {"increase": 2}),
        ("retry", {}),
        ("retry", {"new_parameters": {"nFilesPerJob": 2}}),
        ("incexec", {}),
        ("incexec", {"failed_too": True}),
    ]


def test_json_for_those_who_ask_for_it(client: FlaskClient, world: Any) -> None:
    answer = client.get(
        "/server/panda/getTaskStatus", query_string={"jediTaskID": world.task()}, headers={"Accept": "application/json"}
    )
    assert answer.json == ["registered"]


@pytest.mark.parametrize("field", ["ids", "jobs"])
def test_pickles_are_never_read(client: FlaskClient, world: Any, field: str) -> None:
    """A pickle that leaves a trace when somebody reads it."""
    (job,) = world.jobs(1)
    hostile = "cbuiltins\nexec\n(Vraise SystemExit('read')\ntR."
    for method in ("submitJobs", "killJobs", "getJobStatus", "getFullJobStatus"):
        answer = post(client, method, **{field: hostile})
        assert answer.text.startswith("ERROR : "), method
        assert "pickle" in answer.text or field == "jobs"
    assert post(client, "killJobs", ids=json.dumps([job, 999])).json == [True, False]
    assert [found["jobStatus"] for found in post(client, "getJobStatus", ids=f"[{job}]").json] == ["cancelled"]


def test_sandboxes(client: FlaskClient) -> None:
    content = gzip.compress(b"x" * 1000)
    asked = {"fileSize": len(content), "checkSum": int.from_bytes(content[-8:-4], "little")}
    assert post(client, "checkSandboxFile", **asked).text == "NOTFOUND"
    part = {"file": (io.BytesIO(content), "sources.1.tar.gz")}
    assert client.post("/server/panda/putFile", data=part, headers=USER).text == "True"
    assert post(client, "checkSandboxFile", **asked).text == "FOUND:bamboo.test:sources.1.tar.gz"
    part = {"file": (io.BytesIO(content), "a b")}
    assert client.post("/server/panda/putFile", data=part, headers=USER).text.startswith("ERROR : ")
    assert client.post("/server/panda/putFile", data=b"file=x").text.startswith("ERROR : ")


def test_files_and_metadata(client: FlaskClient, world: Any, engine: sa.Engine) -> None:
    task_id = world.task()
    (job,) = world.jobs(1, task=task_id)
    with engine.begin() as tx:
        text = '{"user_job_metadata": {"a": 1}}'
        tx.execute(sa.insert(job_metadata).values(pandaid=job, jeditaskid=task_id, metadata=text))
    assert post(client, "getUserJobMetadata", jediTaskID=task_id).json == {str(job): {"user_job_metadata": {"a": 1}}}
    (output,) = post(client, "get_files_in_datasets", task_id=task_id, dataset_types="output").json
    assert output["dataset"]["name"] == "user.alice.output"
    assert [file["lfn"] for file in output["files"]] == ["000001.output"]
    assert post(client, "put_file_recovery_request", jediTaskID=task_id, dryRun=True).json[0] is True
    assert post(client, "put_file_recovery_request", "bob", jediTaskID=task_id).json[0] is False


def test_what_is_not_there_is_refused_politely(client: FlaskClient) -> None:
    request = gzip.compress(json.dumps({"data": "{}", "sync": True}).encode())
    answer = client.post("/server/panda/put_workflow_request", data=request, content_type="application/json")
    assert answer.json[0] is False and "not supported yet" in answer.json[1]
    for method in ("execute_idds_workflow_command", "relay_idds_command", "put_checkpoint", "delete_checkpoint"):
        refused = post(client, method, command_name="get_status", kwargs='{"request_id": 1}').json
        assert refused[0] is False and isinstance(refused[1], str)
    assert post(client, "putEventPickingRequest", runEventList="1 2").text.startswith("ERROR : ")


def test_small_questions(client: FlaskClient) -> None:
    assert client.get("/server/panda/isAlive").text == "alive=yes"
    seen = client.get("/server/panda/getAttr", headers={"Authorization": "Bearer canary"}).text
    assert "REQUEST_METHOD : GET" in seen and "canary" not in seen


def test_every_method_answers_nonsense(client: FlaskClient) -> None:
    for method in METHODS:
        for body in (b"", b"a=1", b"{}", gzip.compress(b'{"ids": "x"}'), b"jediTaskID=x&ids=x&pandaID=-1"):
            answer = client.post(f"/server/panda/{method}", data=body)
            assert answer.status_code in (200, 403, 404, 422, 501), (method, body, answer.text)


def test_the_monitor_of_old_clients(client: FlaskClient, world: Any, engine: sa.Engine) -> None:
    mine, his = world.task(), world.task("user.bob.x/", user="bob")
    listed: Any = client.get(f"/tasks/?json=1&datasets=True&limit=10&jeditaskid={mine}&timestamp=1").json
    (row,) = listed
    assert (row["jeditaskid"], row["reqid"], row["username"]) == (mine, mine, "alice")
    assert row["creationdate"] == "2026-01-01 00:00:00"
    assert row["dsinfo"] == dict.fromkeys(("pctfinished", "pctfailed", "nfiles", "nfilesfinished", "nfilesfailed"), 0)
    assert [task["jeditaskid"] for task in client.get("/tasks/?json=1").json] == [his, mine]
    assert client.get("/tasks/?json=1&username=bob&days=3&superstatus=registered|running").json[0]["jeditaskid"] == his
    world.jobs(2, task=mine)
    assert len(client.get(f"/jobs/?json=1&limit=10000&jeditaskid={mine}&mode=nodrop").json["jobs"]) == 2
