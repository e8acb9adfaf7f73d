"""The OpenAPI document: valid, whole, and made of what checks requests."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask, Response
from openapi_spec_validator import OpenAPIV31SpecValidator

from bamboo.server.api.job import Listing
from bamboo.server.auth.access import NEEDS, NOBODY, open_to
from bamboo.server.bodies import Body
from bamboo.server.declared import reads
from bamboo.server.openapi import document, documented, path_of
from bamboo.tests.server.conftest import Api, World


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The document says the same over every database."""
    return sqlite_url


@pytest.fixture
def told(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/api/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    return dict(answer.json)


def operations(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(verb.upper(), path): one for path, verbs in told["paths"].items() for verb, one in verbs.items()}


def test_the_document_is_valid(told: dict[str, Any]) -> None:
    assert told["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(told).validate()  # operationIds are unique, too


def test_every_route_but_the_old_style_is_in_it(app: Flask, told: dict[str, Any]) -> None:
    """With a slash at the end or without is the same operation."""
    served = {
        (verb, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule).rstrip("/"))
        for rule in app.url_map.iter_rules()
        for verb in (rule.methods or set()) & {"GET", "POST"}
    }
    old_style = {("GET", "/server/panda/{method}"), ("POST", "/server/panda/{method}")}
    assert {(verb, path.rstrip("/")) for verb, path in operations(told)} == served - old_style
    assert all(one["summary"] and one["description"] for one in operations(told).values())


def test_arguments_are_those_of_the_model_that_checks(told: dict[str, Any], api: Api) -> None:
    given = {one["name"]: one for one in operations(told)["GET", "/api/v1/job/list"]["parameters"]}
    assert set(given) == set(Listing.model_fields)
    assert given["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert api.get("job/list", limit=1001)["errors"][0]["where"] == "limit"
    body = operations(told)["POST", "/api/v1/task/finish"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["task_id"] and body["additionalProperties"] is False
    assert {fault["where"] for fault in api.post("task/finish", {"task": 1})["errors"]} == {"task_id", "task"}


def test_who_may_come_is_said(told: dict[str, Any]) -> None:
    open_one = operations(told)["GET", "/api/v1/system/is_alive"]
    assert open_one["security"] == [] and "401" not in open_one["responses"]
    closed = operations(told)["POST", "/api/v1/queue/set"]
    assert closed["security"] == [{"token": []}] and {"401", "403", "429"} <= set(closed["responses"])
    assert NEEDS["admin"] in closed["description"]


def test_an_argument_that_is_declared_is_in_the_document_and_checked(app: Flask) -> None:
    @open_to(NOBODY)
    @reads(Listing)
    def newcomer(asked: Listing) -> Response:
        """A route of tomorrow."""
        return Response(str(asked.limit))

    app.add_url_rule("/api/v1/job/newcomer", "job.newcomer", newcomer)
    (rule,) = (rule for _, rule in documented(app) if rule.rule.endswith("newcomer"))
    made = document(app)["paths"][path_of(rule)]["get"]
    assert made["summary"] == "A route of tomorrow."
    assert {one["name"] for one in made["parameters"]} == set(Listing.model_fields)
    client = app.test_client()
    assert client.get("/api/v1/job/newcomer?limit=7").text == "7"
    assert client.get("/api/v1/job/newcomer?limit=0").json["errors"][0]["where"] == "limit"


def test_the_page_has_every_operation_and_runs_nothing(app: Flask, told: dict[str, Any]) -> None:
    answer = app.test_client().get("/api/")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    shown = set(re.findall(r'<h3 id="(\w+)"', answer.text))
    assert shown == {one["operationId"] for one in operations(told).values()}
    for one in operations(told).values():
        for argument in one.get("parameters", ()):
            assert f"<code>{argument['name']}</code>" in answer.text


def test_two_schemas_of_one_name_are_a_bug(app: Flask) -> None:
    class NewFile(Body):
        """Not that of datasets."""

    class Newcomer(Body):
        files: list[NewFile]

    @open_to(NOBODY)
    @reads(Newcomer)
    def newcomer(body: Newcomer) -> Response:
        """Another."""
        return Response()

    app.add_url_rule("/api/v1/job/newcomer", "job.newcomer", newcomer, methods=["POST"])
    with pytest.raises(RuntimeError, match="two schemas have the name NewFile"):
        document(app)


class TestEntityTags:
    def test_what_has_not_changed_is_not_sent_again(self, app: Flask, api: Api, world: World) -> None:
        client, path = app.test_client(), f"/api/v1/task/get_status?task_id={world.task()}"
        first = client.get(path)
        assert first.headers["ETag"].startswith('W/"') and first.headers["Cache-Control"] == "private, no-cache"
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert "X-Request-Id" in again.headers
        other = client.get("/api/v1/queue/list", headers={"If-None-Match": first.headers["ETag"]})
        assert other.status_code == 200
        api.post("queue/set", {"queue": "NEW", "attributes": {}})
        changed = client.get("/api/v1/queue/list", headers={"If-None-Match": other.headers["ETag"]})
        assert changed.status_code == 200 and changed.headers["ETag"] != other.headers["ETag"]

    def test_refusals_and_answers_to_pilots_have_none(self, app: Flask) -> None:
        client = app.test_client()
        for path in ("/api/v1/task/get_status?task_id=1", "/api/v1/pilot/get_job_status?job_ids=1", "/livez"):
            assert "ETag" not in client.get(path).headers, path

    def test_secrets_are_kept_by_nobody(self, app: Flask) -> None:
        answer = app.test_client().get("/api/v1/creds/get_user_secrets")
        assert answer.headers["Cache-Control"] == "no-store" and "ETag" not in answer.headers
