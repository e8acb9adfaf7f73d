"""More than one issuer of tokens: each counts for its own tokens, and for nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jwk import ECKey
from tokens import Issuer

from bamboo.admin.state import StateFolder
from bamboo.admin.tokens import ISSUER, KeyFolder, key_folder
from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadSettings
from bamboo.core.settings import ServerSection, Settings, load
from bamboo.server.app import create_app
from bamboo.server.auth.door import Door
from bamboo.server.auth.errors import NotAdmitted, NotProven
from bamboo.tests.server.test_auth_door import bearer, who

OTHER = "https://other.test"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is asked here is asked before any database."""
    return sqlite_url


@pytest.fixture
def keys(tmp_path: Path, clock: ManualClock) -> KeyFolder:
    """Those of a local system, which signs tokens for its pilots."""
    made = key_folder(StateFolder(tmp_path / "state"))
    made.prepare(clock())
    return made


@pytest.fixture
def open_app(issuer: Issuer, keys: KeyFolder, engine: sa.Engine, clock: ManualClock) -> Callable[..., Flask]:
    """An application for the people of an issuer and the pilots of a local system."""

    def _open(**changes: Any) -> Flask:
        section = issuer.section(**{"more_issuers": [keys.issuer], **changes})
        return create_app(Settings(server=section), engine, clock)

    return _open


def test_each_lets_in_its_own(open_app: Callable[..., Flask], issuer: Issuer, keys: KeyFolder) -> None:
    app = open_app()
    alice, pilot = who(app, bearer(issuer.token())), who(app, bearer(keys.pilot_token.read_text(), "bamboo"))
    assert (alice.user_name, alice.vo, alice.roles) == ("Alice Example", "cms", {"user"})
    assert (pilot.vo, pilot.roles) == ("bamboo", {"pilot"})


def test_a_key_proves_nothing_about_what_another_issuer_says(
    open_app: Callable[..., Flask], issuer: Issuer, keys: KeyFolder
) -> None:
    """Neither by its own name nor under that of the other's key."""
    app = open_app()
    (published,) = json.loads(keys.trusted_keys.read_text())["keys"]
    for header in ({}, {"kid": published["kid"]}):
        with pytest.raises(NotProven, match=r"not trusted|signature"):
            who(app, bearer(issuer.token(header=header, iss=ISSUER), "bamboo"))


def test_groups_of_one_give_nothing_by_the_policies_of_another(
    open_app: Callable[..., Flask], issuer: Issuer, keys: KeyFolder, clock: ManualClock
) -> None:
    app = open_app()
    with pytest.raises(NotAdmitted, match="VO 'bamboo' is not known here"):
        who(app, bearer(issuer.token(groups=["bamboo/admin"]), "bamboo"))
    with pytest.raises(NotAdmitted, match="VO 'cms' is not known here"):
        who(app, bearer(keys.owner_token(clock()), "cms"))


def test_the_same_key_for_two_issuers_keeps_their_audiences_apart(
    open_app: Callable[..., Flask], issuer: Issuer
) -> None:
    entry = {"issuer": OTHER, "keys": str(issuer.trusted), "audience": "other", "policies": str(issuer.policies)}
    app = open_app(more_issuers=[entry])
    assert who(app, bearer(issuer.token(iss=OTHER, aud="other"))).user_name == "Alice Example"
    for claims in ({"iss": OTHER}, {"aud": "other"}):
        with pytest.raises(NotProven, match=r"the token is for \(aud\)"):
            who(app, bearer(issuer.token(**claims)))


@pytest.mark.parametrize("name", ["https://nobody.test", "", None, 7, [ISSUER]])
def test_what_nobody_has_issued_is_refused(open_app: Callable[..., Flask], issuer: Issuer, name: Any) -> None:
    with pytest.raises(NotProven, match=r"issued \(iss\)") as told:
        who(open_app(), bearer(issuer.token(iss=name)))
    assert issuer.section().token_issuer in told.value.hint


@pytest.mark.parametrize(
    "token", ["a.b.c", "e30.e30.e30", ".%%%.", "x", "e30.W10.x", "a" * 20_000, f"e30.{'Ww' * 4000}.x"]
)
def test_what_is_no_token_is_refused_by_the_check_that_it_fails(open_app: Callable[..., Flask], token: str) -> None:
    told = set()
    for app in (open_app(), open_app(more_issuers=[])):
        with pytest.raises(NotProven) as refused:
            who(app, bearer(token))
        told.add(str(refused.value))
    assert len(told) == 1


def test_a_provider_that_is_away_keeps_out_nobody_else(
    open_app: Callable[..., Flask], issuer: Issuer, keys: KeyFolder
) -> None:
    app = open_app(token_keys="http://127.0.0.1:9/nobody-listens")
    asked = {"headers": bearer(keys.pilot_token.read_text(), "bamboo"), "json": {"job_ids": [1]}}
    client = app.test_client()
    assert client.get("/api/v1/task/get_status?task_id=1", headers=bearer(issuer.token())).status_code == 503
    assert client.get("/api/v1/pilot/get_job_status?job_ids=1", headers=asked["headers"]).status_code == 200


def test_a_key_that_is_taken_away_is_over_for_its_issuer_alone(
    open_app: Callable[..., Flask], issuer: Issuer, keys: KeyFolder
) -> None:
    app, token, pilot = open_app(), issuer.token(), keys.pilot_token.read_text()
    who(app, bearer(token)), who(app, bearer(pilot, "bamboo"))
    issuer.trust(ECKey.generate_key("P-256", {"kid": "new"}))
    with pytest.raises(NotProven, match="not trusted"):
        who(app, bearer(token))
    assert who(app, bearer(pilot, "bamboo")).is_pilot


def test_whoami_explains_by_the_policies_of_the_tokens_issuer(
    open_app: Callable[..., Flask], issuer: Issuer, keys: KeyFolder, clock: ManualClock
) -> None:
    client = open_app().test_client()
    owner = bearer(keys.owner_token(clock()), "bamboo")
    told = client.get("/api/v1/system/whoami", headers=owner).json["data"]
    assert {rule["claimed"] for rule in told["rules"]} == {"bamboo", "bamboo/production", "bamboo/admin"}
    assert (told["token"]["issuer"], told["missing"].keys()) == (ISSUER, {"pilot"})
    assert "bamboo/pilot" in told["missing"]["pilot"]
    told = client.get("/api/v1/system/whoami", headers=bearer(issuer.token())).json["data"]
    assert [rule["claimed"] for rule in told["rules"]] == ["/cms"]
    assert "/cms/prod" in told["missing"]["production"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"issuer": ""}, r"more_issuers\[0\]\.issuer: missing"),
        ({"keys": ""}, r"more_issuers\[0\]\.keys: missing"),
        ({"keys": " , "}, r"more_issuers\[0\]\.keys: missing"),
        ({"policies": ""}, r"more_issuers\[0\]\.policies: missing"),
        ({"keys": "https://iam.test/jwks"}, r"more_issuers\[0\]\.audience: missing"),
        ({"keys": "http://iam.test/jwks", "audience": "a"}, "can be changed on the way"),
        ({"keys": "/no/such/file"}, r"more_issuers\[0\]\.keys: /no/such/file"),
        ({"policies": "/no/such/file"}, "No such file"),
        ({"issuer": "https://issuer.test"}, "is there twice"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    issuer: Issuer, keys: KeyFolder, changes: dict[str, str], fault: str
) -> None:
    entry = {**keys.issuer.model_dump(), **changes}
    with pytest.raises(BadSettings, match=fault):
        Door.build(issuer.section(more_issuers=[entry]))


def test_a_server_may_know_no_issuer_but_those(keys: KeyFolder, engine: sa.Engine, clock: ManualClock) -> None:
    section = ServerSection(token_authType="oidc", more_issuers=(keys.issuer,))
    app = create_app(Settings(server=section), engine, clock)
    assert who(app, bearer(keys.pilot_token.read_text(), "bamboo")).is_pilot


def test_they_are_read_from_a_cfg_file(tmp_path: Path) -> None:
    path = tmp_path / "panda_server.cfg"
    path.write_text('[server]\nmore_issuers = [{"issuer": "a", "keys": "k",\n    "policies": "p"}]\n')
    (entry,) = load([path]).settings.server.more_issuers
    assert (entry.issuer, entry.keys, entry.audience, entry.policies) == ("a", "k", "", "p")
    path.write_text('[server]\nmore_issuers = [{"isuer": "a"}]\n')
    with pytest.raises(BadSettings, match="isuer"):
        load([path])
    path.write_text("[server]\nmore_issuers = a, b\n")
    with pytest.raises(BadSettings, match=r"panda_server\.cfg:2"):
        load([path])


def test_a_local_system_adds_itself_to_those_that_are_named(issuer: Issuer, keys: KeyFolder) -> None:
    other = {"issuer": OTHER, "keys": "k", "policies": "p"}
    beside = keys.issuers_beside(issuer.section(more_issuers=[other]))
    assert [entry.issuer for entry in beside] == [OTHER, ISSUER]
    assert keys.issuers_beside(issuer.section(more_issuers=beside)) == beside
    assert keys.issuers_beside(issuer.section(token_issuer=ISSUER)) == ()
