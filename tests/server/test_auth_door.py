"""The door: who comes in, as whom, to which addresses, and what the others hear."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, request
from flask.testing import FlaskClient
from patience import PATIENCE_SECONDS
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.core.errors import BadSettings, NotAllowed
from bamboo.core.settings import ServerSection, Settings, load
from bamboo.server.app import create_app
from bamboo.server.auth.access import Need, access_of
from bamboo.server.auth.caller import Caller
from bamboo.server.auth.door import PROXY_HEADERS, Door
from bamboo.server.old_style import METHODS

FAR = "192.0.2.7"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is asked here is asked before any database."""
    return sqlite_url


@pytest.fixture
def ask(guarded: Flask, issuer: Issuer) -> Callable[..., Any]:
    """Asks for the status of a task that does not exist: whoever comes in hears a 404 in the envelope."""

    def _ask(origin: str | None = "cms", path: str = "task/get_status?task_id=1", **claims: Any) -> Any:
        headers = {"Authorization": f"Bearer {issuer.token(**claims)}", **({"Origin": origin} if origin else {})}
        return guarded.test_client().get(f"/api/v1/{path}", headers=headers)

    return _ask


def who(app: Flask, headers: dict[str, str], remote: str = "127.0.0.1", base_url: str = "http://localhost") -> Caller:
    """Whom the application sees."""
    door: Door = app.extensions["bamboo_door"]
    with app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": remote}, base_url=base_url):
        return door.caller(request, app.extensions["bamboo"].now())


def bearer(token: str, origin: str = "cms") -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Origin": origin}


def test_a_caller_is_who_the_token_says(guarded: Flask, issuer: Issuer) -> None:
    """The name as PanDA's client makes it: each word with its first letter in upper case."""
    found = who(guarded, {**bearer(issuer.token(groups=["/cms", "/cms/prod"])), "X-Bamboo-User": "mallory"}, FAR)
    assert found == Caller(
        "Alice Example",
        frozenset({"user", "production"}),
        nickname="alice",
        vo="cms",
        groups=frozenset({"cms", "prod"}),
    )


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "alice EXAMPLE"}, "Alice Example"),
        ({"name": "  jean-luc   o'NEILL "}, "Jean-luc O'neill"),
        ({"name": "ÉLODIE straße"}, "Élodie Straße"),
        ({"name": None}, "0001"),
        ({"name": ""}, "0001"),
        ({"name": 7}, "0001"),
    ],
)
def test_names(guarded: Flask, issuer: Issuer, claims: dict[str, Any], name: str) -> None:
    assert who(guarded, bearer(issuer.token(**claims))).user_name == name


@pytest.mark.parametrize(
    "claims",
    [
        {"name": None, "sub": None},
        {"name": "x" * 129},
        {"name": "a\x00b"},
        {"name": None, "sub": 7},
        {"name": "\x1b[2J"},
    ],
)
def test_a_token_without_a_usable_name_is_refused(ask: Callable[..., Any], claims: dict[str, Any]) -> None:
    answer = ask(**claims)
    assert answer.status_code == 401
    assert "no usable name" in answer.json["message"]


@pytest.mark.parametrize(
    ("groups", "origin", "roles"),
    [
        (["/cms"], "cms", {"user"}),
        (["/cms/prod"], "cms", {"production"}),
        (["/cms", "/cms/prod", "/cms/admins"], "cms", {"user", "production", "admin"}),
        (["/cms", "/cms/prod"], "cms:production", {"production"}),
        (["/cms", "/cms/prod"], "cms.user", {"user"}),
        (["dotted"], "vo.dotted.org", {"user"}),
        (["dotted"], "vo.dotted.org.user", {"user"}),
        (["dotted"], "vo.dotted.org:user", {"user"}),
    ],
)
def test_groups_give_roles(guarded: Flask, issuer: Issuer, groups: list[str], origin: str, roles: set[str]) -> None:
    assert who(guarded, bearer(issuer.token(groups=groups), origin)).roles == roles
    assert who(guarded, bearer(issuer.token(**{"groups": None, "wlcg.groups": groups}), origin)).roles == roles


@pytest.mark.parametrize(
    ("groups", "origin", "reason"),
    [
        ([], "cms", "(none) let nobody in"),
        (None, "cms", "gives them no role"),
        ("/cms", "cms", "gives them no role"),
        ([["/cms"]], "cms", "gives them no role"),
        (["/cms/uscms"], "cms", "gives them no role"),
        (["cms"], "cms", "gives them no role"),
        (["/cms"], "atlas", "VO 'atlas' is not known here"),
        (["/cms"], "vo.dotted.org", "gives them no role"),
        (["/cms"], "cms:production", "role 'production' of VO 'cms' was asked for"),
        (["/cms"], "cms.admin", "role 'admin' of VO 'cms' was asked for"),
    ],
)
def test_no_group_gives_more_than_the_policies_say(
    ask: Callable[..., Any], groups: Any, origin: str, reason: str
) -> None:
    answer = ask(origin, groups=groups)
    assert answer.status_code == 403
    assert answer.json["code"] == "BAM-AUTH-003"
    assert reason in answer.json["message"]


@pytest.mark.parametrize("origin", [None, "null", "http://page.test"])
def test_the_vo_must_be_named(ask: Callable[..., Any], origin: str | None) -> None:
    answer = ask(origin)
    assert answer.status_code == 401
    assert "names no VO" in answer.json["message"]


def test_a_refusal_has_its_status_and_the_envelope(ask: Callable[..., Any]) -> None:
    """PanDA's client prints the body of what is not 200, so that its users see the message."""
    answer = ask(exp=1)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json["success"] is False
    assert "expired" in answer.json["message"]
    assert answer.json["hint"]


def test_pilots_read_refusals_where_they_look(guarded: Flask, issuer: Issuer) -> None:
    answer = guarded.test_client().post("/api/v1/pilot/acquire_jobs", json={}, headers=bearer(issuer.token()))
    assert answer.status_code == 403
    assert answer.json["data"]["StatusCode"] == 30
    assert "is no pilot" in answer.json["message"]


@pytest.mark.parametrize("given", ["Basic YTpi", "Bearer", "bearer  ", "Token x", "x"])
def test_other_authorisations_are_refused(guarded: Flask, given: str) -> None:
    answer = guarded.test_client().get("/api/v1/task/get_status", headers={"Authorization": given, "Origin": "cms"})
    assert answer.status_code == 401


def test_tokens_stay_out_of_logs_and_answers(
    ask: Callable[..., Any], issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = [ask(exp=1).text, ask(groups=[]).text, ask().text]
    signature = issuer.token().split(".")[1][:40]
    assert caplog.records
    assert all(signature not in text for text in [*told, caplog.text])
    assert "Bearer ey" not in caplog.text


#: The callers of the matrix: what they send, and which needs they meet.
CALLERS: dict[str, tuple[Callable[[Issuer], dict[str, str]], set[Need]]] = {
    "nobody": (lambda i: {}, set()),
    "a name": (lambda i: {"X-Bamboo-User": "alice"}, set()),
    "expired": (lambda i: bearer(i.token(exp=1)), set()),
    "stranger": (lambda i: bearer(i.token(groups=["/atlas"])), set()),
    "user": (lambda i: bearer(i.token()), {Need.USER, Need.ANYONE}),
    "pilot": (lambda i: bearer(i.token(groups=["/cms/pilots"])), {Need.PILOT, Need.ANYONE}),
    "production": (lambda i: bearer(i.token(groups=["/cms/prod"])), {Need.USER, Need.ANYONE}),
    "admin": (lambda i: bearer(i.token(groups=["/cms/admins"])), set(Need)),
}


@pytest.mark.parametrize("name", CALLERS)
def test_every_route_asks_for_what_it_needs(name: str, guarded: Flask, issuer: Issuer) -> None:
    """All routes there are, and one that there is not: only those who are known hear so."""
    make, met = CALLERS[name]
    headers, client = make(issuer), guarded.test_client()
    asked = 0
    for rule in guarded.url_map.iter_rules():
        need = access_of(guarded.view_functions[rule.endpoint], {"method": "killTask"}).need
        path = re.sub(r"<(?:int:)?\w+>", "1", rule.rule.replace("<method>", "killTask")).replace("<path:name>", "x")
        for method in (rule.methods or set()) & {"GET", "POST"}:
            answer = client.open(path, method=method, headers=headers, json={} if method == "POST" else None)
            let_in = answer.status_code not in (401, 403)
            assert let_in == (need in {Need.NOBODY, *met}), (method, path, answer.text)
            asked += 1
    assert asked > 25
    for path in ("/api/v1/task/dance", "/api/v1/harvester/dance", "/no/such/place"):
        assert (client.get(path, headers=headers).status_code == 404) == (Need.ANYONE in met), path


def test_what_is_open_is_open_on_purpose(guarded: Flask) -> None:
    rules, views = list(guarded.url_map.iter_rules()), guarded.view_functions
    needs = {rule.rule: access_of(views[rule.endpoint], {"method": "killTask"}).need for rule in rules}
    folders, pages = ("/cache/", "/trf/", "/auth/"), {rule.rule for rule in rules if rule.endpoint.startswith("views.")}
    opened = {path for path, need in needs.items() if need is Need.NOBODY and not path.startswith(folders)}
    assert opened - pages == {
        "/api/openapi.json",
        "/livez",
        "/metrics",
        "/readyz",
        "/api/v1/system/is_alive",
    }

    closed = {
        "/queue/<path:name>/why/",
        "/task/<int:task_id>/why/",
        "/job/<int:pandaid>/why/",
        "/task/<int:task_id>/command/<verb>",
    }
    assert pages - opened == closed


def test_old_style_methods() -> None:
    opened = {name for name, method in METHODS.items() if method.access.need is Need.NOBODY}
    assert opened == {"isAlive", "getResourceTypes", "getAttr"}
    of_pilots = {name for name, method in METHODS.items() if method.access.need is Need.PILOT}
    more = {"getEventRanges", "updateEventRanges", "getProxy", "getKeyPair", "get_access_token"}
    assert of_pilots == {"getJob", "updateJob", "getStatus", "updateWorkerPilotStatus", *more}


@pytest.mark.parametrize(("group", "is_known"), [("/cms", True), ("/cms/pilots", True), ("/atlas", False)])
def test_a_method_that_there_is_not(guarded: Flask, issuer: Issuer, group: str, is_known: bool) -> None:
    """Pilots hear that it is not there, and not that they are no users."""
    answer = guarded.test_client().post("/server/panda/dance", headers=bearer(issuer.token(groups=[group])))
    assert answer.status_code == 403
    assert ("method dance is forbidden" in answer.text) == is_known


# without tokens, on one machine


@pytest.fixture
def trusting(app: Flask) -> Flask:
    """An application that believes callers from its own machine."""
    return app


def test_on_this_machine_a_name_is_enough(trusting: Flask) -> None:
    found = who(trusting, {"X-Bamboo-User": "alice"})
    assert (found.user_name, found.is_local, found.is_user, found.is_pilot) == ("alice", True, True, True)
    assert who(trusting, {}, "::1").user_name == "anonymous"
    for url in ("http://[::1]:25080", "http://127.0.0.1:25080", "http://bamboo:25080", "http://bamboo.test:25080"):
        assert who(trusting, {}, base_url=url).is_local, url


ELSEWHERE: dict[str, dict[str, Any]] = {
    "another machine": {"remote": FAR},
    "no address": {"remote": ""},
    **{f"a proxy ({name})": {"headers": {name: FAR}} for name in PROXY_HEADERS},
    "a web page": {"headers": {"Origin": "http://evil.test"}},
    "a local web page": {"headers": {"Origin": "http://localhost:8000"}},
    "a browser": {"headers": {"Sec-Fetch-Site": "same-origin"}},
    "a rebound name": {"base_url": "http://evil.test:25080"},
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_from_elsewhere_a_name_is_not(trusting: Flask, case: str) -> None:
    from bamboo.server.auth.errors import NotProven

    given = {"headers": {}, **ELSEWHERE[case]}
    given["headers"] = {"X-Bamboo-User": "alice", **given["headers"]}
    with pytest.raises(NotProven, match="shows no token"):
        who(trusting, **given)


def test_a_web_page_cannot_submit(trusting: Flask) -> None:
    """A form of any page that a user looks at can send this without asking."""
    client: FlaskClient = trusting.test_client()
    answer = client.post(
        "/api/v1/task/kill", data='{"task_id": 1}', content_type="text/plain", headers={"Origin": "https://evil.test"}
    )
    assert answer.status_code == 401


def test_where_names_are_believed_tokens_are_verified_all_the_same(
    issuer: Issuer, engine: sa.Engine, clock: ManualClock
) -> None:
    app = create_app(Settings(server=issuer.section(token_authType="none")), engine, clock)
    assert who(app, bearer(issuer.token())).user_name == "Alice Example"
    assert who(app, {"X-Bamboo-User": "alice"}).user_name == "alice"
    answer = app.test_client().get("/api/v1/task/get_status", headers=bearer(issuer.token(exp=1)))
    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "X-Bamboo-User", "Forwarded"])
@pytest.mark.parametrize("value", ["[", "]", "@", ":", "//", "[::1", "a:b:c", "\xff", "Bearer \xff", "%00", "x" * 5000])
def test_odd_headers_are_refused_or_harmless(trusting: Flask, guarded: Flask, name: str, value: str) -> None:
    for app in (trusting, guarded):
        answer = app.test_client().get("/api/v1/task/get_status?task_id=1", headers={name: value})
        assert answer.status_code < 500, answer.text


# owners and roles


def test_owners_and_those_above_them() -> None:
    alice = Caller("Alice", frozenset({"user"}), vo="cms")
    manager = Caller("Mia", frozenset({"production"}), vo="cms")
    admin = Caller("Ada", frozenset({"admin"}), vo="cms")
    alice.must_own("task 1", "Alice", "cms")
    manager.must_own("task 1", "Alice", "cms")
    admin.must_own("task 1", "Alice", "atlas")
    assert admin.is_administrator and not manager.is_administrator
    for caller, vo in ((Caller("Bob", frozenset({"user", "pilot"}), vo="cms"), "cms"), (manager, "atlas")):
        with pytest.raises(NotAllowed, match="belongs to Alice"):
            caller.must_own("task 1", "Alice", vo)
    assert alice.is_user and not alice.has_role("production", "cms")


def test_only_admins_change_queues(guarded: Flask, issuer: Issuer) -> None:
    body = {"queue": "Q", "attributes": {}}
    client = guarded.test_client()
    refused = client.post("/api/v1/queue/set", json=body, headers=bearer(issuer.token()))
    assert (refused.status_code, refused.json["code"]) == (403, "BAM-AUTH-003")
    taken = client.post("/api/v1/queue/set", json=body, headers=bearer(issuer.token(groups=["/cms/admins"])))
    assert taken.json["success"]


# settings


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"token_keys": ""}, "token_keys: missing"),
        ({"auth_policies": ""}, "auth_policies: missing"),
        ({"token_authType": "x509"}, "trusted_front_ends: missing"),
        ({"token_keys": "http://iam.example.org/jwks"}, "can be changed on the way"),
        ({"token_keys": "ftp://iam.example.org/jwks"}, "can be changed on the way"),
        ({"token_keys": "https://"}, "can be changed on the way"),
        ({"token_keys": "https://iam.test/jwks", "token_issuer": ""}, "token_issuer: missing"),
        ({"token_keys": "https://iam.test/jwks", "token_audience": ""}, "token_audience: missing"),
        ({"token_keys": "/no/such/file"}, "No such file"),
        ({"auth_policies": "/no/such/file"}, "No such file"),
    ],
)
def test_a_door_that_cannot_work_is_refused_at_the_start(issuer: Issuer, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadSettings, match=fault):
        Door.build(issuer.section(**changes))


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        '{"cms": 1}',
        '{"cms": [["/cms"]]}',
        '{"cms": [["/cms", {"group": "a"}]]}',
        '{"cms": [["", {"group": "a", "role": "user"}]]}',
    ],
)
def test_policies_that_make_no_sense_are_refused_at_the_start(issuer: Issuer, document: str) -> None:
    issuer.policies.write_text(document)
    with pytest.raises(BadSettings, match=r"policies\.json"):
        Door.build(issuer.section())


def test_the_server_says_once_what_is_wrong(tmp_path: Path, sqlite_url: str) -> None:
    environ = {**os.environ, "BAMBOO_SERVER__TOKEN_AUTHTYPE": "oidc", "BAMBOO_CONFIG": os.devnull}
    command = [sys.executable, "-m", "bamboo", "server", "--port", "0", "--db", sqlite_url]
    told = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=PATIENCE_SECONDS)
    assert told.returncode == 8, told
    assert told.stderr.count("token_keys") == 1
    assert "Traceback" not in told.stderr


def test_the_manuals_settings_are_accepted(tmp_path: Path) -> None:
    """Manual ch. 7.6.3, as it stands."""
    path = tmp_path / "panda_server.cfg"
    path.write_text(
        "[server]\ntoken_authType = oidc\nauth_config = /opt/panda/etc/panda/auth/\n"
        "auth_policies = /opt/panda/etc/panda/auth_policies.json\n"
    )
    assert load([path]).settings.server.auth_config == "/opt/panda/etc/panda/auth/"


# how clients find their login


def test_the_login_of_a_vo(tmp_path: Path, engine: sa.Engine, clock: ManualClock) -> None:
    folder = tmp_path / "auth"
    folder.mkdir()
    config = {"audience": "a", "client_id": "i", "client_secret": "s", "oidc_config_url": "https://x", "vo": "cms"}
    (folder / "cms_auth_config.json").write_text(json.dumps({**config, "admin_password": "canary"}))
    (folder / "bad_auth_config.json").write_text("{")
    (tmp_path / "out_auth_config.json").write_text("{}")
    client = create_app(Settings(server=ServerSection(auth_config=str(folder))), engine, clock).test_client()
    answer = client.get("/auth/cms_auth_config.json")
    assert answer.json == config
    assert client.get("/auth/atlas_auth_config.json").status_code == 404
    assert client.get("/auth/bad_auth_config.json").status_code == 503
    for name in ("../out", "..%2Fout", "%2e%2e/out", "*", "c*s"):
        assert client.get(f"/auth/{name}_auth_config.json").status_code == 404, name
