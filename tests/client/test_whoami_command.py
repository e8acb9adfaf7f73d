"""`bamboo whoami` as users type it."""

from __future__ import annotations

from typing import Any

from bamboo.tests.client.client_harness import Answer, Bamboo, ScriptedServer, no, ok

WHO: dict[str, Any] = {
    "userName": "Alice Example",
    "nicknames": ["alice"],
    "vo": "cms",
    "roles": ["user"],
    "groups": ["cms"],
    "queues": None,
    "isLocal": False,
    "token": {
        "issuer": "https://issuer.test",
        "subject": "0001",
        "audience": "bamboo.test",
        "groups": ["/cms", "/other"],
        "expires": {"__datetime__": "2026-01-01T01:00:00+00:00"},
    },
    "rules": [{"claimed": "/cms", "group": "cms", "role": "user"}],
    "missing": {"production": "the token would need the group /cms/prod"},
}


def test_the_short_answer(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("system/whoami", ok(WHO))
    ended = bamboo("whoami")
    assert ended.code == 0, ended.err
    assert [line.split(maxsplit=1) for line in ended.out.splitlines()] == [
        ["user", "Alice Example"],
        ["VO", "cms"],
        ["roles", "user"],
        ["groups", "cms"],
        ["datasets", "user.alice."],
        ["expires", "2026-01-01 01:00:00 UTC"],
    ]
    assert bamboo("whoami", "-q").out == "Alice Example\n"
    assert bamboo("whoami", "--json").json["rules"] == WHO["rules"]


def test_the_whole_story(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("system/whoami", ok(WHO))
    told = bamboo("whoami", "--explain").out
    assert "issuer     https://issuer.test\n" in told
    assert "groups     /cms, /other\n" in told
    assert "\nTo have the role production\nthe token would need the group /cms/prod\n" in told
    (rule,) = (line for line in told.splitlines() if line.startswith("/cms "))
    assert rule.split() == ["/cms", "cms", "user"]


def test_a_pilot_with_queues_and_somebody_without_a_token(server: ScriptedServer, bamboo: Bamboo) -> None:
    server.on("system/whoami", ok({**WHO, "queues": ["Q1", "Q2"]}))
    assert "queues     Q1, Q2\n" in bamboo("whoami").out
    server.on("system/whoami", ok({**WHO, "vo": "", "token": None, "rules": []}))
    told = bamboo("whoami", "--explain").out
    assert "VO         none: no token was shown\n" in told
    assert "programs on the server's machine may just say a name" in told


def test_a_refusal_is_told_with_what_to_do(server: ScriptedServer, bamboo: Bamboo) -> None:
    refused = no("the token expired", code="BAM-AUTH-001", status=401, hint="get a new one")
    server.on("system/whoami", Answer(refused, 401))
    ended = bamboo("whoami", "--explain")
    assert ended.code == 5
    assert "the token expired" in ended.err and "get a new one" in ended.err
