"""What only some may ask for: activities, priorities, and names in the name spaces of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.server.app import create_app
from bamboo.server.auth.caller import Caller
from bamboo.sql import tasks

CAPTURES = Path(__file__).parent / "captures"
FILE = {"lfn": "f", "url": "file:///data/f", "size_bytes": 1, "adler32": "1"}
Ask = Callable[..., Any]


def captured(name: str = "hello", **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURES / f"{name}.json").read_text())
    given = {**body["task_parameters"], "vo": "cms", **changes}
    return {**body, "task_parameters": {key: value for key, value in given.items() if value is not None}}


@pytest.fixture
def issuer(tmp_path: Path, clock: ManualClock) -> Issuer:
    return Issuer(tmp_path, clock())


@pytest.fixture
def guarded(issuer: Issuer, engine: sa.Engine, clock: ManualClock) -> Flask:
    return create_app(Settings(server=issuer.section()), engine, clock)


@pytest.fixture
def ask(guarded: Flask, issuer: Issuer) -> Ask:
    """Asks with a token that has these claims."""

    def _ask(path: str, body: Any, **claims: Any) -> Any:
        headers = {"Authorization": f"Bearer {issuer.token(**claims)}", "Origin": "cms"}
        answer = guarded.test_client().post(f"/api/v1/{path}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json

    return _ask


PRODUCTION = {"groups": ["/cms", "/cms/prod"]}
ADMIN = {"groups": ["/cms/admins"]}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"prodSourceLabel": "managed"}, "prodSourceLabel"),
        ({"prodSourceLabel": "prod_test"}, "prodSourceLabel"),
        ({"official": True}, "official"),
        ({"currentPriority": 1101}, "currentPriority"),
        ({"priority": 5000}, "currentPriority"),
    ],
)
def test_what_is_kept_for_production(ask: Ask, changes: dict[str, Any], key: str) -> None:
    body = captured(**changes)
    answer = ask("task/submit", body)
    assert (answer["success"], answer["status"], answer["code"]) == (False, 403, "BAM-AUTH-004")
    (fault,) = answer["errors"]
    assert fault["where"] == f"task_parameters.{key}"
    assert "needs the role production in VO cms, which Alice Example does not have" in fault["what"]
    assert "bamboo client token --role production" in answer["hint"] and answer["hint"] in answer["message"]
    assert answer["data"] is None  # 0 and 3 read as accepted
    assert ask("task/submit", body, **PRODUCTION)["success"]


def test_all_is_told_at_once_and_nothing_is_entered(ask: Ask, engine: sa.Engine) -> None:
    given = captured("build", currentPriority=9000)
    given["task_parameters"]["buildSpec"]["prodSourceLabel"] = "managed"
    answer = ask("task/submit", given, preferred_username="bob")
    places = {fault["where"].removeprefix("task_parameters.") for fault in answer["errors"]}
    assert {"buildSpec.prodSourceLabel", "currentPriority", "log.dataset"} < places
    with engine.begin() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(sa.table("tasks"))).scalar_one() == 0


@pytest.mark.parametrize("changes", [{}, {"prodSourceLabel": "panda"}, {"prodSourceLabel": "test"}, {"priority": 1100}])
def test_what_everybody_may(ask: Ask, changes: dict[str, Any]) -> None:
    assert ask("task/submit", captured(**changes))["success"]


def test_production_of_one_organisation_is_none_of_another(ask: Ask) -> None:
    answer = ask("task/submit", captured(prodSourceLabel="managed", vo="atlas"), **PRODUCTION)
    assert "needs the role production in VO atlas" in answer["message"]
    assert "(but in VO cms: --vo cms)" in answer["message"]
    assert ask("task/submit", captured(prodSourceLabel="managed", vo="atlas"), **ADMIN)["success"]


def test_a_retry_is_no_way_around(ask: Ask, engine: sa.Engine) -> None:
    first = ask("task/submit", captured())["data"]
    with engine.begin() as tx:
        tasks.update_task(tx, first, status="finished")
    for changes in ({"prodSourceLabel": "managed"}, {"currentPriority": 5000}):
        answer = ask("task/retry", {"task_id": first, "new_parameters": changes})
        assert (answer["success"], answer["data"], answer["code"]) == (False, None, "BAM-AUTH-004")
    assert ask("task/retry", {"task_id": first, "new_parameters": {"nFilesPerJob": 1}})["data"] == 3


def test_a_group_task_has_one_name_for_all(ask: Ask, engine: sa.Engine) -> None:
    given = captured("datasets", official=True, uniqueTaskName=True)
    first = ask("task/submit", given, **PRODUCTION)["data"]
    bob = {**PRODUCTION, "name": "Bob", "preferred_username": "bob"}
    assert ask("task/submit", given, **bob)["data"] == 2
    with engine.begin() as tx:
        tasks.update_task(tx, first, status="finished")
    assert ask("task/submit", given, **bob)["data"] == first


@pytest.mark.parametrize(
    ("name", "claims", "is_theirs"),
    [
        ("user.alice.in", {}, True),
        ("user.alice:in", {}, True),
        ("user.alice.in/", {}, True),
        ("user.bob.in", {}, False),
        ("user.alice2.in", {}, False),
        ("user.bob:in", {}, False),
        ("user.alice:user.bob.in", {}, False),
        ("group.cms.in", {}, True),
        ("group10.cms.in", {}, True),
        ("group.prod.in", {}, False),
        ("group.prod.in", PRODUCTION, True),
        ("user.bob.in", PRODUCTION, True),
        ("user.bob.in", ADMIN, True),
        ("data18.run7", {}, True),
        ("user.in", {}, True),
        ("user.a.example.in", {"preferred_username": "a.example"}, True),
        ("user.aexample.in", {"preferred_username": "a.example"}, True),
        ("user.a.other.in", {"preferred_username": "a.example"}, False),
        ("user.a.in", {"preferred_username": "a@x.org"}, True),
        ("user.axorg.in", {"preferred_username": "a@x.org"}, True),
        ("user.alice.in", {"preferred_username": None, "name": "alice"}, True),
        ("user.alice.in", {"preferred_username": None, "name": "bob"}, False),
    ],
)
def test_name_spaces_belong_to_nicknames_and_groups(
    ask: Ask, name: str, claims: dict[str, Any], is_theirs: bool
) -> None:
    answer = ask("dataset/add_files", {"dataset": name, "files": [FILE]}, **claims)
    assert answer["success"] == is_theirs, answer["message"]
    if not is_theirs:
        assert (answer["status"], answer["code"]) == (403, "BAM-AUTH-004")
        assert "is in the name space of" in answer["message"] and "begin it with user." in answer["errors"][0]["do"]


def test_a_name_that_was_refused_is_free_for_its_owner(ask: Ask) -> None:
    """Whoever came first kept the name, and with it the tasks of its owner from writing there."""
    body = {"dataset": "user.alice.in", "files": [FILE]}
    bob = {"name": "Bob", "preferred_username": "bob"}
    refused = ask("dataset/add_files", body, **bob)
    assert "user.alice.in is in the name space of user alice, not of Bob" in refused["message"]
    assert "begin it with user.bob. or group.cms." in refused["message"]
    assert ask("dataset/add_files", body)["data"] == {"added": 1, "known": 0}
    assert ask("dataset/add_files", body, **bob)["code"] == "BAM-AUTH-002"


def test_outputs_go_to_names_of_ones_own(ask: Ask) -> None:
    answer = ask("task/submit", captured(), name="Bob", preferred_username="bob")
    assert answer["code"] == "BAM-AUTH-004"
    assert {fault["where"] for fault in answer["errors"]} == {
        "task_parameters.jobParameters[4].dataset",
        "task_parameters.log.dataset",
    }
    assert ask("task/submit", captured(), **PRODUCTION, name="Bob", preferred_username="bob")["success"]


def test_nicknames_of_callers_without_a_token() -> None:
    assert Caller("Alice B", nickname="Alice B").nicknames == {"Alice B", "AliceB"}
