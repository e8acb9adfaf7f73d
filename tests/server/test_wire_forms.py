"""The many ways in which clients write the same request (client protocol 3.3)."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from bamboo.core.errors import TooLarge
from bamboo.server.literals import parse_literal

USER = {"X-Bamboo-User": "alice"}


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


BODIES = [
    json.dumps({"job_ids": [1, 2]}).encode(),
    gzip.compress(json.dumps({"job_ids": [1, 2]}).encode()),
    json.dumps({"job_ids": "1,2"}).encode(),
    b"job_ids=1&job_ids=2",
    b"job_ids=1%2C2",
    urlencode({"job_ids": "[1, 2]"}).encode(),
    urlencode({"job_ids": "(1, 2)"}).encode(),
    gzip.compress(b"job_ids=1&job_ids=2&nothing=None"),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("kind", [None, "application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_is_known_by_its_bytes(client: FlaskClient, body: bytes, kind: str | None) -> None:
    answer = client.post("/api/v1/job/get_description", data=body, content_type=kind, headers=USER)
    assert answer.json["data"] == [None, None]


@pytest.mark.parametrize("query", ["job_ids=1&job_ids=2", "job_ids=1,2", "job_ids=[1,2]", "job_ids=1&job_ids=2&x=None"])
def test_lists_in_a_query(client: FlaskClient, query: str) -> None:
    assert [row["job_id"] for row in client.get(f"/api/v1/pilot/get_job_status?{query}").json["data"]] == [1, 2]
    assert len(client.get("/api/v1/pilot/get_job_status?job_ids=7").json["data"]) == 1


@pytest.mark.parametrize(("word", "shown"), [("True", True), ("False", False), ("None", False), ("true", True)])
def test_words_for_truth(api: Any, world: Any, word: str, shown: bool) -> None:
    details = api.get("task/get_details", task_id=world.task(), include_status=word, include_parameters="None")["data"]
    assert ("status" in details) is shown and "taskParams" not in details


def test_objects_as_text(client: FlaskClient, api: Any, world: Any) -> None:
    task_id = world.task()
    for text in ('{"nFilesPerJob": 2}', "{'nFilesPerJob': 2, 'site': None}"):
        body = urlencode({"task_id": task_id, "new_parameters": text})
        answer = client.post("/api/v1/task/retry", data=body, headers=USER)
        assert answer.json["data"] == 4, answer.text  # understood; a registered task cannot be retried


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getpid()",
        "[open('/etc/passwd')]",
        "{1: 2}",
        "{'a': b'x'}",
        "[1+2j]",
        "{1, 2}",
        "[" * 5000,
        "[" + "-" * 50_000 + "1]",
        "['" + "x" * 200_000 + "']",
        "[" + "(),," * 10_000 + "]",
        "[9" + "9" * 5000 + "]",
        "[1e999]",
        "{'a': 1, **{}}",
        "[\x00]",
        "(" * 60 + "1" + ")" * 60 + "!",
    ],
)
def test_literals_are_never_run(text: str) -> None:
    with pytest.raises((ValueError, TooLarge)):
        parse_literal(text, 64)


def test_a_literal_that_cannot_be_read_is_told_by_its_argument(api: Any) -> None:
    """Beside all other faults, not alone and under its own text."""
    told = api.get("job/get_status", job_ids="[open('x')]")
    assert told["errors"] == [
        {"where": "job_ids", "what": "neither JSON nor a Python literal", "do": "given: \"[open('x')]\""}
    ]


def test_texts_in_a_list_stay_as_they_are(api: Any, world: Any) -> None:
    """Found by test_api_fuzz.py: a kind of dataset that begins with a bracket was read as a literal."""
    task_id = world.task()
    for kinds in ("(", "[", ["(", "input"], "['input', '(']", "input,pseudo_input"):
        assert api.get("task/get_datasets_and_files", task_id=task_id, dataset_types=kinds)["success"], kinds


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"])
def test_a_moment_that_utc_does_not_have_is_a_fault(moment: str, api: Any) -> None:
    """Found by test_api_fuzz.py: it was a bug, where the database wanted it in UTC."""
    (fault,) = api.get("task/get_tasks_modified_since", since=moment)["errors"]
    assert (fault["where"], fault["what"]) == ("since", "there is no such moment in UTC")
    page = api.client.get("/tasks/", query_string={"date_from": moment, "json": ""})
    assert (page.status_code, page.json["errors"][0]["where"]) == (422, "date_from")


def test_filters_that_are_no_object_are_told_as_such(api: Any) -> None:
    """Found by test_api_fuzz.py: they were a body that is no JSON, though there was no body."""
    (fault,) = api.get("task/get_tasks_detailed_info_since", filters="running")["errors"]
    assert fault["where"] == "filters"


def test_literals_become_what_json_has() -> None:
    assert parse_literal("{'a': (1, 2.5, None, True), \"b\": ['x', {}]}", 64) == {
        "a": [1, 2.5, None, True],
        "b": ["x", {}],
    }


def test_the_request_as_the_server_sees_it(client: FlaskClient) -> None:
    answer = client.get("/api/v1/system/get_attributes", headers={"Authorization": "Bearer canary", "Cookie": "canary"})
    assert answer.json["data"]["environment"]["REQUEST_METHOD"] == "GET"
    assert "canary" not in answer.text


def test_workflows_are_refused(api: Any) -> None:
    answer = api.post("workflow/submit_workflow_raw_request", {"params": {"outDS": "x"}})
    assert (answer["success"], answer["code"]) == (False, "BAM-NOTYET-001")
    assert "not supported yet" in api.get("workflow/get_workflow_details", workflow_id=1)["message"]


def test_parents(api: Any, world: Any) -> None:
    parent = world.task()
    child = world.task("user.alice.child/", parent_tid=parent)
    assert api.get("task/get_parent_detailed_info", task_id=child)["data"]["jediTaskID"] == parent
    assert api.get("task/get_parent_detailed_info", task_id=parent)["status"] == 404


def test_rows_and_changes_since(api: Any, world: Any) -> None:
    task_id = world.task()
    row = api.get("task/get_detailed_info", task_id=task_id)["data"]
    assert row["raw_task_params"]["taskName"] and row["task_creation_arguments"].startswith("prun ")
    (listed,) = api.get("task/get_tasks_detailed_info_since", filters='{"vo": "bamboo"}')["data"]
    assert listed["task_creation_arguments"] == row["task_creation_arguments"]
    asked = {"dn": "None", "full": "True", "min_task_id": "None", "prod_source_label": "user"}
    changed = api.get("task/get_tasks_modified_since", since="2025-12-31 00:00:00", **asked)["data"]
    assert list(changed) == [str(task_id)]
    assert api.get("task/get_tasks_modified_since", since="2026-01-02 00:00:00", **asked)["data"] == {}


def test_recovery(api: Any, bob: Any, world: Any) -> None:
    task_id = world.task()
    answer = api.post("file_server/upload_file_recovery_request", {"task_id": task_id, "dry_run": True})
    assert answer["success"] and "no output file" in answer["data"]
    assert bob.post("file_server/upload_file_recovery_request", {"task_id": task_id})["status"] == 403
