"""Keys that a real provider gives by its address: how old they get, when they are asked for, and which are taken."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from oidc import CLIENT_ID, RunningProvider, certificate, lay_out
from patience import PATIENCE_SECONDS, eventually

from bamboo.core.clock import ManualClock, utc_now
from bamboo.core.errors import Unavailable
from bamboo.core.settings import ServerSection, Settings
from bamboo.server.app import create_app
from bamboo.server.auth import provider as provider_module
from bamboo.server.auth.errors import NotProven
from bamboo.server.auth.key_copy import KeyCopy
from bamboo.server.auth.keys import KeyFiles, KeySources
from bamboo.server.auth.provider import EXPIRE, MOST_KEYS, REFRESH, RETRY, ProviderKeys
from bamboo.server.auth.tokens import TokenRules, verify

SECOND = timedelta(seconds=1)
THREAD = "provider keys"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is asked here is asked before any database."""
    return sqlite_url


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    started = RunningProvider(tmp_path_factory.mktemp("keys")).start()
    yield started
    started.stop()


@pytest.fixture
def provider(running: RunningProvider) -> Iterator[RunningProvider]:
    running.reset()
    yield running
    eventually(lambda: not fetching(), "the last fetching thread to end")


@pytest.fixture
def clock() -> ManualClock:
    """Begins now, for the provider's own clock is the machine's."""
    return ManualClock(utc_now())


@pytest.fixture
def keys(provider: RunningProvider, clock: ManualClock) -> ProviderKeys:
    return ProviderKeys(provider.discovery, provider.url, clock)


def fetching() -> bool:
    return any(thread.name == THREAD for thread in threading.enumerate())


def move(clock: ManualClock, by: timedelta) -> None:
    clock.advance(seconds=by.total_seconds())


@pytest.mark.parametrize("place", ["discovery", "jwks"])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_tokens_are_verified_by_fetched_keys(
    algorithm: str, place: str, provider: RunningProvider, clock: ManualClock
) -> None:
    provider.behave(algorithm=algorithm)
    address = provider.discovery if place == "discovery" else f"{provider.url}/jwks"
    keys = ProviderKeys(address, provider.url, clock)
    claims = verify(provider.token(), keys, TokenRules(provider.url, CLIENT_ID), clock())
    assert claims["preferred_username"] == "alice"


def test_keys_are_fetched_anew_every_six_hours(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock
) -> None:
    first = keys.find("RS256.1")
    move(clock, REFRESH - SECOND)
    assert keys.find("RS256.1") is first
    assert not fetching()
    assert provider.asked("/jwks") == 1
    move(clock, SECOND)
    assert keys.find("RS256.1") is not None
    eventually(lambda: provider.asked("/jwks") == 2, "the keys to be fetched again")


def test_a_key_that_is_taken_away_is_refused_after_that(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock
) -> None:
    token, rules = provider.token(), TokenRules(provider.url, CLIENT_ID)
    assert verify(token, keys, rules, clock())
    provider.behave(keys=[2])
    assert verify(token, keys, rules, clock())
    move(clock, REFRESH)
    eventually(lambda: keys.find("RS256.1") is None, "the key to be gone")
    assert keys.find("RS256.2") is not None


def test_no_keys_at_all_are_an_answer_too(keys: ProviderKeys, provider: RunningProvider, clock: ManualClock) -> None:
    assert keys.find("RS256.1")
    provider.behave(jwks={"keys": []})
    move(clock, REFRESH)
    eventually(lambda: keys.find("RS256.1") is None, "the key to be gone")


def test_a_new_key_is_known_from_its_first_token(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock
) -> None:
    assert keys.find("RS256.1")
    provider.behave(keys=[1, 2])
    assert keys.find("RS256.2") is None  # fetched a moment ago
    move(clock, RETRY)
    assert keys.find("RS256.2") is not None


def test_unknown_keys_are_looked_for_once_a_minute(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock
) -> None:
    assert keys.find("RS256.1")
    for n_times in (2, 3, 4):
        move(clock, RETRY - SECOND)
        assert keys.find("unknown") is None
        assert provider.asked("/jwks") == n_times - 1
        move(clock, SECOND)
        assert [keys.find(f"unknown{number}") for number in range(50)] == [None] * 50
        assert provider.asked("/jwks") == n_times


def test_many_who_wait_for_the_first_keys_are_one_request(keys: ProviderKeys, provider: RunningProvider) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(keys.find("RS256.1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert None not in found
    assert provider.asked("/jwks") == 1


def test_keys_serve_for_four_days_without_the_provider(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock
) -> None:
    assert keys.find("RS256.1")
    provider.stop()
    for part in (REFRESH, timedelta(days=1), timedelta(days=2)):
        move(clock, part)
        assert keys.find("RS256.1")
        eventually(lambda: not fetching(), "the attempt to end")
    move(clock, EXPIRE - REFRESH - timedelta(days=3))
    assert keys.find("RS256.1")
    eventually(lambda: not fetching(), "the attempt to end")
    move(clock, RETRY)
    with pytest.raises(Unavailable, match="cannot be had"):
        keys.find("RS256.1")
    provider.start()
    with pytest.raises(Unavailable):  # within a minute of the last attempt
        keys.find("RS256.1")
    move(clock, RETRY)
    assert keys.find("RS256.1")


def test_nobody_else_waits_for_a_provider_that_hangs(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited would find that nothing is being fetched any more."""
    assert keys.find("RS256.1")
    monkeypatch.setattr(provider_module, "WAIT_SECONDS", PATIENCE_SECONDS)
    patient = replace(provider_module.LIMITS, connect_seconds=PATIENCE_SECONDS, total_seconds=PATIENCE_SECONDS)
    monkeypatch.setattr(provider_module, "LIMITS", patient)
    provider.hang()
    try:
        move(clock, REFRESH)
        assert keys.find("RS256.1")
        assert fetching()
        assert keys.find("unknown") is None
        assert fetching()
    finally:
        provider.go_on()
    eventually(lambda: not fetching(), "the attempt to end")


# what is on the disk


@pytest.fixture
def copy(tmp_path: Path) -> KeyCopy:
    return KeyCopy(tmp_path / "copy")


@pytest.fixture
def copied(provider: RunningProvider, copy: KeyCopy, clock: ManualClock) -> Path:
    """The copy that a server made which has ended, as has the provider."""
    assert ProviderKeys(provider.discovery, provider.url, clock, copy=copy).find("RS256.1")
    path = copy.path_of(provider.discovery)
    eventually(path.exists, "the copy to be written")
    provider.stop()
    return path


def test_a_server_starts_without_its_provider(
    provider: RunningProvider, copied: Path, copy: KeyCopy, clock: ManualClock
) -> None:
    kept = json.loads(copied.read_text())["keys"]
    assert (copied.stat().st_mode & 0o777, [key for key in kept if "d" in key]) == (0o600, [])
    move(clock, EXPIRE)
    assert ProviderKeys(provider.discovery, provider.url, clock, copy=copy).find("ES256.1")
    move(clock, SECOND)
    with pytest.raises(Unavailable):
        ProviderKeys(provider.discovery, provider.url, clock, copy=copy).find("ES256.1")


def spoil(**changes: Any) -> Any:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BAD_COPIES = {
    "others may write it": lambda path: path.chmod(0o622),
    "half written": lambda path: path.write_text(path.read_text()[:50]),
    "about another address": spoil(address="https://other.test"),
    "from the future": spoil(fetched_at="2999-01-01T00:00:00+00:00"),
    "without a zone": spoil(fetched_at="2026-01-01T00:00:00"),
    "no keys": spoil(keys="none"),
    "no time": spoil(fetched_at=None),
}


@pytest.mark.parametrize("case", BAD_COPIES)
def test_a_copy_that_cannot_be_trusted_is_not_used(
    case: str, provider: RunningProvider, copied: Path, copy: KeyCopy, clock: ManualClock
) -> None:
    BAD_COPIES[case](copied)
    with pytest.raises(Unavailable):
        ProviderKeys(provider.discovery, provider.url, clock, copy=copy).find("RS256.1")


def test_a_copy_that_cannot_be_written_is_no_harm(
    provider: RunningProvider, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    keys = ProviderKeys(provider.discovery, provider.url, clock, copy=KeyCopy(tmp_path / "file" / "copy"))
    assert keys.find("RS256.1")


# what providers may say

BAD_ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another issuer": ({"discovery": {"issuer": "https://evil.test"}}, "", "issuer"),
    "no issuer": ({"discovery": {"issuer": None}}, "", "issuer"),
    "keys by http": ({"discovery": {"jwks_uri": "http://evil.test/keys"}}, "", "jwks_uri"),
    "keys in a file": ({"discovery": {"jwks_uri": "file:///etc/passwd"}}, "", "jwks_uri"),
    "keys nowhere": ({"discovery": {"jwks_uri": None}}, "", "neither `keys` nor `jwks_uri`"),
    "no list of keys": ({"jwks": {"keys": 1}}, "", "no list of JWKs"),
    "a list of numbers": ({"jwks": {"keys": [1]}}, "", "no list of JWKs"),
    "too many keys": ({"jwks": {"keys": [{"kty": "RSA"}] * (MOST_KEYS + 1)}}, "", "more than 100"),
    "a redirect": ({}, "/moved", "HTTP 302"),
    "too much": ({}, "/huge", "bytes"),
    "nothing": ({}, "/nowhere", "HTTP 404"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_answers_that_are_not_taken(
    case: str, provider: RunningProvider, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    behaviour, path, reason = BAD_ANSWERS[case]
    provider.behave(**behaviour)
    keys = ProviderKeys(f"{provider.url}{path}" if path else provider.discovery, provider.url, clock)
    with caplog.at_level(logging.ERROR), pytest.raises(Unavailable):
        keys.find("RS256.1")
    assert reason in "".join(str(vars(record).get("problem")) for record in caplog.records)


def test_an_answer_that_is_not_taken_leaves_the_keys_of_before(
    keys: ProviderKeys, provider: RunningProvider, clock: ManualClock
) -> None:
    assert keys.find("RS256.1")
    provider.behave(jwks={"keys": 1})
    move(clock, REFRESH)
    assert keys.find("RS256.1")
    eventually(lambda: provider.asked("/jwks") == 2 and not fetching(), "the attempt to end")
    assert keys.find("RS256.1")


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_of_a_providers_keys_those_are_taken_that_tokens_may_be_signed_with(
    provider: RunningProvider, clock: ManualClock
) -> None:
    others: dict[str, dict[str, Any]] = {
        "secret": dict(OctKey.generate_key(256).as_dict(private=True)),
        "other curve": dict(ECKey.generate_key("P-384").as_dict(private=False)),
        "edwards": dict(OKPKey.generate_key("Ed25519").as_dict(private=False)),
        "other algorithm": {**RSAKey.generate_key(2048).as_dict(private=False), "alg": "PS256"},
        "for encryption": {**ECKey.generate_key("P-256").as_dict(private=False), "use": "enc"},
        "no key": {"kty": "RSA", "n": 5},
        "nonsense": {"kty": ["RSA"]},
    }
    given = [{**key, "kid": name} for name, key in others.items()]
    provider.behave(jwks={"keys": [*given, *provider.jwks()["keys"]]})
    keys = ProviderKeys(provider.discovery, provider.url, clock)
    found = {name: keys.find(name) for name in [*others, "RS256.1", "ES256.1"]}
    assert {name for name, key in found.items() if key} == {"RS256.1", "ES256.1"}


def test_certificates_are_verified(
    tmp_path: Path, running: RunningProvider, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = RunningProvider(running.folder, certificate(tmp_path)).start()
    try:
        keys = ProviderKeys(provider.discovery, provider.url, clock)
        with pytest.raises(Unavailable):
            keys.find("RS256.1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(provider.certificate))
        move(clock, RETRY)
        assert keys.find("RS256.1")
    finally:
        provider.stop()


def test_files_and_addresses_together(provider: RunningProvider, keys: ProviderKeys, tmp_path: Path) -> None:
    own = ECKey.generate_key("P-256", {"kid": "own"})
    (tmp_path / "own.json").write_text(json.dumps(own.as_dict(private=False)))
    both = KeySources([keys, KeyFiles([tmp_path / "own.json"])])
    provider.stop()
    assert both.find("own")
    with pytest.raises(Unavailable):
        both.find("RS256.1")


# the server as a whole


@pytest.fixture
def app(provider: RunningProvider, tmp_path: Path, engine: sa.Engine, clock: ManualClock) -> Flask:
    given: dict[str, Any] = lay_out(tmp_path / "auth", provider)
    return create_app(Settings(server=ServerSection(**given, cache_dir=tmp_path / "cache")), engine, clock)


def ask(app: Flask, token: str) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Origin": "cms"}
    return app.test_client().get("/api/v1/task/get_status?task_id=1", headers=headers)


#: What is different in a token (`claims`, or how it is signed), and the words that refuse it.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "other audience": ({"claims": {"aud": "somebody-else"}}, "(aud)"),
    "no audience": ({"claims": {"aud": None}}, "(aud)"),
    "other issuer": ({"claims": {"iss": "https://evil.test"}}, "(iss)"),
    "issuer with a slash more": ({"claims": {"iss": "SELF/"}}, "(iss)"),
    "expired": ({"claims": {"exp": 1}}, "expired"),
    "never expires": ({"claims": {"exp": None}}, "no exp"),
    "not yet": ({"claims": {"nbf": 1 << 33}}, "nbf"),
    "RS512": ({"header": {"alg": "RS512"}}, "alg 'RS512'"),
    "PS256": ({"header": {"alg": "PS256"}}, "alg 'PS256'"),
    "unknown kid": ({"header": {"kid": "RS256.9"}}, "not trusted"),
    "a key that is not published": ({"key": 2, "header": {"kid": "RS256.2"}}, "not trusted"),
    "another key under a known kid": ({"key": 2, "header": {"kid": "RS256.1"}}, "signature"),
    "no kid": ({"header": {"kid": ""}}, "no kid"),
    "ES256 by the kid of an RSA key": ({"signed_as": "ES256", "header": {"alg": "ES256"}}, "its key is for RS256"),
    "keys of its own": ({"key": 2, "header": {"kid": "mine", "jku": "SELF/jwks"}}, "not trusted"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tokens_of_the_provider_that_are_refused(case: str, app: Flask, provider: RunningProvider) -> None:
    how, words = WRONG[case]
    assert ask(app, provider.token()).status_code == 200
    token = provider.token(**json.loads(json.dumps(how).replace("SELF", provider.url)))
    refused = ask(app, token)
    assert (refused.status_code, refused.json["code"]) == (401, "BAM-AUTH-001"), refused.text
    assert words in refused.json["message"]


def test_a_token_that_was_let_in_goes_with_its_key(app: Flask, provider: RunningProvider, clock: ManualClock) -> None:
    provider.behave(lifetime_seconds=10 * 24 * 3600)
    token = provider.token()
    assert ask(app, token).status_code == 200
    provider.behave(keys=[2])
    move(clock, REFRESH)
    eventually(lambda: ask(app, token).status_code == 401, "the token to be refused")


def test_without_any_keys_callers_are_told_to_come_again(app: Flask, provider: RunningProvider) -> None:
    token = provider.token()
    provider.stop()
    told = ask(app, token)
    assert (told.status_code, "cannot be had" in told.json["message"]) == (503, True)
    assert told.headers["Retry-After"]


def test_garbage_asks_the_provider_for_nothing(app: Flask, provider: RunningProvider, keys: ProviderKeys) -> None:
    assert ask(app, "garbage").status_code == 401
    with pytest.raises(NotProven):
        verify(provider.token(header={"alg": "RS512"}), keys, TokenRules(), utc_now())
    assert provider.asked("/jwks") == 0
