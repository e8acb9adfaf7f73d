"""What callers are told of themselves, and that every refusal says what fixes it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tokens import AUDIENCE, ISSUER, Issuer

import bamboo

Ask = Callable[..., Any]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Nothing of this is in the database."""
    return sqlite_url


@pytest.fixture
def ask(guarded: Flask, issuer: Issuer) -> Ask:
    def _ask(origin: str = "cms", http: int = 200, **claims: Any) -> Any:
        headers = {"Authorization": f"Bearer {issuer.token(**claims)}", "Origin": origin}
        answer = guarded.test_client().get("/api/v1/system/whoami", headers=headers)
        assert answer.status_code == http, answer.text
        return answer.json["data"] if http == 200 else answer.json

    return _ask


def test_a_user_is_told_by_which_rules_and_what_is_missing(ask: Ask) -> None:
    told = ask(groups=["/cms", "/cms/prod", "/elsewhere"])
    assert (told["userName"], told["vo"], told["nicknames"]) == ("Alice Example", "cms", ["alice"])
    assert (told["roles"], told["groups"]) == (["production", "user"], ["cms", "prod"])
    assert (told["queues"], told["isLocal"]) == (None, False)
    assert told["rules"] == [
        {"claimed": "/cms", "group": "cms", "role": "user"},
        {"claimed": "/cms/prod", "group": "prod", "role": "production"},
    ]
    assert set(told["missing"]) == {"admin", "pilot"}
    assert "would need the group /cms/admins" in told["missing"]["admin"]
    assert "`bamboo client token --role admin`" in told["missing"]["admin"]
    assert told["token"] == {
        "issuer": ISSUER,
        "subject": "0001",
        "audience": AUDIENCE,
        "groups": ["/cms", "/cms/prod", "/elsewhere"],
        "expires": {"__datetime__": "2026-01-01T01:00:00+00:00"},
    }


def test_a_role_that_was_not_asked_for(ask: Ask) -> None:
    told = ask("cms:user", groups=["/cms", "/cms/prod"])
    assert told["roles"] == ["user"]
    assert [rule["role"] for rule in told["rules"]] == ["user"]
    assert "another role alone is asked for: `export PANDA_AUTH_VO=cms`" in told["missing"]["production"]


def test_a_role_that_no_group_gives(ask: Ask) -> None:
    told = ask("vo.dotted.org", groups=["dotted"])
    assert "no group gives it in VO vo.dotted.org" in told["missing"]["admin"]
    assert "would need the group dotted/prod" in told["missing"]["production"]


def test_a_pilot_is_told_its_queues(ask: Ask) -> None:
    told = ask(groups=["/cms/pilots"], bamboo_queues=["Q2", "Q1"])
    assert (told["roles"], told["queues"]) == (["pilot"], ["Q1", "Q2"])


def test_a_name_without_a_token(app: Flask) -> None:
    answer = app.test_client().get("/api/v1/system/whoami", headers={"X-Bamboo-User": "bob"})
    told = answer.json["data"]
    assert (told["userName"], told["vo"], told["token"], told["isLocal"]) == ("bob", "", None, True)
    assert "callers without a token never have it" in told["missing"]["production"]


@pytest.mark.parametrize("exp", [10**12, 10**17, 1e300])
def test_a_token_that_lives_for_ages(ask: Ask, exp: float) -> None:
    assert ask(exp=exp)["token"]["expires"]["__datetime__"].startswith("9999-12-31")


def test_whoever_is_not_let_in_is_told_the_check_and_what_to_do(ask: Ask) -> None:
    for refused, check, command in (
        (ask(http=401, exp=1), "expired", "`bamboo client env`"),
        (ask(http=403, groups=["/x"]), "groups (/x) let nobody in", "export PANDA_AUTH_VO"),
        (ask("cms:admin", http=403), "role 'admin' of VO 'cms' was asked for", "export PANDA_AUTH_VO=cms"),
    ):
        assert check in refused["message"]
        assert command in refused["hint"]


@pytest.mark.parametrize(
    ("path", "claims", "check", "role"),
    [
        ("pilot/acquire_jobs", {}, "is no pilot", "pilot"),
        ("task/kill", {"groups": ["/cms/pilots"]}, "is a pilot and no user", "user"),
        ("queue/set", {}, "is no administrator", "admin"),
    ],
)
def test_an_address_names_the_role_that_it_asks_for(
    guarded: Flask, issuer: Issuer, path: str, claims: dict[str, Any], check: str, role: str
) -> None:
    headers = {"Authorization": f"Bearer {issuer.token(**claims)}", "Origin": "cms"}
    refused = guarded.test_client().post(f"/api/v1/{path}", json={}, headers=headers)
    assert (refused.status_code, refused.json["code"]) == (403, "BAM-AUTH-003")
    assert check in refused.json["message"]
    assert f"the role {role} comes with a group of the token" in refused.json["hint"]
    assert "`bamboo whoami --explain`" in refused.json["hint"]


REFUSALS = {"NotProven", "NotAdmitted", "NotAllowed", "NeedsRole"}
SERVER = Path(str(bamboo.__file__)).parent / "server"


def raised(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS:
            yield node


def test_every_refusal_says_what_to_do() -> None:
    found = [(path.name, call) for path in SERVER.rglob("*.py") for call in raised(path)]
    assert len(found) > 20
    silent = [f"{name}:{call.lineno}" for name, call in found if "hint" not in {key.arg for key in call.keywords}]
    assert silent == []
