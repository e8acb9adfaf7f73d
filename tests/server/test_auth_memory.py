"""What the server remembers of a token, and what it asks anew all the same."""

from __future__ import annotations

import pytest
from flask import Flask
from joserfc.jwk import ECKey
from tokens import Issuer

from bamboo.core.clock import ManualClock
from bamboo.server.auth.caller import Caller
from bamboo.server.auth.errors import NotAdmitted, NotProven
from bamboo.server.auth.keys import KeyFiles
from bamboo.server.auth.memory import Memory, Proof
from bamboo.tests.server.test_auth_door import bearer, who


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is asked here is asked before any database."""
    return sqlite_url


def test_a_token_that_was_let_in_is_remembered(guarded: Flask, issuer: Issuer) -> None:
    token = issuer.token()
    assert who(guarded, bearer(token)) is who(guarded, bearer(token))


def test_a_remembered_token_expires_all_the_same(guarded: Flask, issuer: Issuer, clock: ManualClock) -> None:
    token = issuer.token()
    who(guarded, bearer(token))
    clock.advance(seconds=3600)
    with pytest.raises(NotProven, match="expired"):
        who(guarded, bearer(token))


def test_a_remembered_token_goes_with_its_key(guarded: Flask, issuer: Issuer) -> None:
    token = issuer.token()
    who(guarded, bearer(token))
    issuer.trust(issuer.rsa)
    with pytest.raises(NotProven, match="not trusted"):
        who(guarded, bearer(token))
    other = ECKey.generate_key("P-256", {"kid": "ec"})  # the same name, another key
    issuer.trust(other, issuer.rsa)
    with pytest.raises(NotProven, match="signature"):
        who(guarded, bearer(token))


def test_a_remembered_token_is_another_one_in_another_vo(guarded: Flask, issuer: Issuer) -> None:
    token = issuer.token(groups=["/cms", "/cms/prod"])
    assert who(guarded, bearer(token)).roles == {"user", "production"}
    assert who(guarded, bearer(token, "cms:user")).roles == {"user"}
    with pytest.raises(NotAdmitted):
        who(guarded, bearer(token, "vo.dotted.org"))


def test_a_letter_beside_a_remembered_token_is_wrong(guarded: Flask, issuer: Issuer) -> None:
    token = issuer.token()
    who(guarded, bearer(token))
    header, claims, signature = token.split(".")
    forged = f"{header}.{claims}.{signature[:-6]}{'A' if signature[-6] != 'A' else 'B'}{signature[-5:]}"
    with pytest.raises(NotProven, match="signature"):
        who(guarded, bearer(forged))


def test_memory_is_bounded(issuer: Issuer, clock: ManualClock) -> None:
    keys = KeyFiles([issuer.trusted])
    key = keys.find("ec")
    assert key is not None
    memory, names = Memory(most=3), [f"token{n}" for n in range(5)]
    for name in names:
        memory.keep(name, "", Proof(keys, key, issuer.claims(), Caller(name, frozenset())))
        memory.find("token1", "", clock())  # what is shown again stays
    known = [name for name in names if memory.find(name, "", clock())]
    assert known == ["token1", "token3", "token4"]
