"""Tokens: what is right is let in, and everything else is refused with the name of the check that failed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from tokens import AUDIENCE, ISSUER, Issuer

from bamboo.core.errors import BadSettings
from bamboo.server.auth.errors import NotProven
from bamboo.server.auth.keys import KeyFiles
from bamboo.server.auth.tokens import MAX_TOKEN_BYTES, NOT_BEFORE_LEEWAY_SECONDS, TokenRules, verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = int(NOW.timestamp())
RULES = TokenRules(ISSUER, AUDIENCE)
TOLERANT = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
THREE_PARTS = st.lists(st.binary(max_size=80), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"), NOW)


@pytest.fixture(scope="module")
def keys(issuer: Issuer) -> KeyFiles:
    return KeyFiles([issuer.trusted])


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hmac_with(secret: bytes, issuer: Issuer) -> str:
    """What an attacker makes of the public key when a verifier believes the header's alg."""
    signed = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(issuer.claims())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def forged(issuer: Issuer, header: dict[str, Any], **changes: Any) -> str:
    """Signed by a stranger's key."""
    stranger = ECKey.generate_key("P-256")
    return jwt.encode({"alg": "ES256", **header}, issuer.claims(**changes), stranger)


def altered(issuer: Issuer) -> str:
    """A right signature under other claims."""
    head, _, signature = issuer.token().split(".")
    return ".".join((head, part(issuer.claims(groups=["/cms/admins"])), signature))


WRONG: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "alg none": (lambda i: f"{part({'alg': 'none', 'kid': 'ec'})}.{part(i.claims())}.", "alg 'none'"),
    "alg none, signed": (lambda i: f"{part({'alg': 'none', 'kid': 'ec'})}.{part(i.claims())}.eA", "alg 'none'"),
    "alg NONE": (lambda i: f"{part({'alg': 'NONE', 'kid': 'ec'})}.{part(i.claims())}.", "alg 'NONE'"),
    "no alg": (lambda i: f"{part({'kid': 'ec'})}.{part(i.claims())}.eA", "alg 'None'"),
    "alg a list": (lambda i: f"{part({'alg': ['ES256'], 'kid': 'ec'})}.{part(i.claims())}.eA", "not accepted"),
    "HS256 with the public PEM": (lambda i: hmac_with(i.rsa.as_pem(private=False), i), "alg 'HS256'"),
    "HS256 with the JWKS": (lambda i: hmac_with(i.trusted.read_bytes(), i), "alg 'HS256'"),
    "RS512": (lambda i: jwt.encode({"alg": "RS512", "kid": "rsa"}, i.claims(), i.rsa, ["RS512"]), "alg 'RS512'"),
    "ES256 said, RSA key": (lambda i: i.token({"kid": "rsa"}), "its key is for RS256"),
    "RS256 said, EC key": (lambda i: jwt.encode({"alg": "RS256", "kid": "ec"}, i.claims(), i.rsa), "for ES256"),
    "unknown kid": (lambda i: i.token({"kid": "other"}), "'other', which is not trusted"),
    "no kid": (lambda i: jwt.encode({"alg": "ES256"}, i.claims(), i.ec), "has no kid"),
    "kid a number": (lambda i: f"{part({'alg': 'ES256', 'kid': 7})}.{part(i.claims())}.eA", "has no kid"),
    "kid a path": (lambda i: forged(i, {"kid": "../../etc/passwd"}), "not trusted"),
    "stranger's signature": (lambda i: forged(i, {"kid": "ec"}), "signature is wrong"),
    "own jwk in the header": (
        lambda i: forged(i, {"kid": "ec", "jwk": ECKey.generate_key("P-256").as_dict(private=False)}),
        "signature is wrong",
    ),
    "jku": (lambda i: forged(i, {"kid": "evil", "jku": "http://127.0.0.1:1/keys"}), "not trusted"),
    "x5u": (lambda i: forged(i, {"kid": "ec", "x5u": "http://127.0.0.1:1/cert"}), "signature is wrong"),
    "crit": (lambda i: f"{part({'alg': 'ES256', 'kid': 'ec', 'crit': ['exp']})}.{part(i.claims())}.eA", "critical"),
    "altered claims": (altered, "signature is wrong"),
    "no signature": (lambda i: i.token().rpartition(".")[0] + ".", "signature is wrong"),
    "expired": (lambda i: i.token(exp=SECOND - 1), "expired at 2025-12-31T23:59:59"),
    "expires now": (lambda i: i.token(exp=SECOND), "expired"),
    "no exp": (lambda i: i.token(exp=None), "no exp"),
    "exp a text": (lambda i: i.token(exp="tomorrow"), "exp is no number"),
    "exp true": (lambda i: i.token(exp=True), "exp is no number"),
    "exp infinite": (lambda i: i.token(exp=float("inf")), "exp is no number"),
    "exp far before": (lambda i: i.token(exp=-1e300), "expired at second"),
    "nbf ahead": (lambda i: i.token(nbf=SECOND + NOT_BEFORE_LEEWAY_SECONDS + 1), "not valid before 2026-01-01"),
    "nbf a text": (lambda i: i.token(nbf="now"), "nbf is no number"),
    "other issuer": (lambda i: i.token(iss="https://evil.test"), "(iss) by 'https://evil.test'"),
    "no issuer": (lambda i: i.token(iss=None), "(iss) by 'None'"),
    "issuer with a slash more": (lambda i: i.token(iss=ISSUER + "/"), "(iss)"),
    "other audience": (lambda i: i.token(aud="other"), "(aud) 'other'"),
    "other audiences": (lambda i: i.token(aud=["a", "b"]), "(aud)"),
    "no audience": (lambda i: i.token(aud=None), "(aud) 'None'"),
    "audience inside another": (lambda i: i.token(aud=f"x{AUDIENCE}x"), "(aud)"),
    "huge": (lambda i: i.token(padding="x" * MAX_TOKEN_BYTES), f"more than {MAX_TOKEN_BYTES}"),
    "garbage": (lambda i: "garbage", "three parts"),
    "four parts": (lambda i: i.token() + ".x", "three parts"),
    "JWE": (lambda i: "a.b.c.d.e", "three parts"),
    "not ASCII": (lambda i: "é" + i.token(), "three parts"),
    "header no base64": (lambda i: "!" + i.token(), "header is no"),
    "header no JSON": (lambda i: f"{part(b'{')}.x.x", "header is no JSON"),
    "header a list": (lambda i: f"{part([1])}.x.x", "header is no JSON object"),
    "header deep": (lambda i: f"{part(b'[' * 9000)}.x.x", "header is no JSON"),
    "dots only": (lambda i: "..", "header is no JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_token_is_refused_by_the_check_that_it_fails(case: str, issuer: Issuer, keys: KeyFiles) -> None:
    make, reason = WRONG[case]
    token = make(issuer)
    with pytest.raises(NotProven) as told:
        verify(token, keys, RULES, NOW)
    assert reason in told.value.message
    assert told.value.hint
    assert token not in str(told.value)


RIGHT: dict[str, Callable[[Issuer], str]] = {
    "ES256": lambda i: i.token(),
    "RS256": lambda i: jwt.encode({"alg": "RS256", "kid": "rsa"}, i.claims(), i.rsa),
    "one of several audiences": lambda i: i.token(aud=["other", AUDIENCE]),
    "nbf a minute ahead": lambda i: i.token(nbf=SECOND + NOT_BEFORE_LEEWAY_SECONDS),
    "no nbf": lambda i: i.token(nbf=None),
    "fractions of a second": lambda i: i.token(exp=SECOND + 0.5),
    "addresses in the header are not looked at": lambda i: i.token({"jku": "http://127.0.0.1:1/k", "x5u": "http://x/"}),
    "unknown words in the header": lambda i: i.token({"typ": "at+jwt", "vendor": "x"}),
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_right_token_gives_its_claims(case: str, issuer: Issuer, keys: KeyFiles) -> None:
    assert verify(RIGHT[case](issuer), keys, RULES, NOW)["preferred_username"] == "alice"


def test_one_of_the_audiences_that_a_server_has_will_do(issuer: Issuer, keys: KeyFiles) -> None:
    rules = TokenRules(ISSUER, f"first, {AUDIENCE}")
    for audience in (AUDIENCE, "first", ["other", "first"]):
        assert verify(issuer.token(aud=audience), keys, rules, NOW)
    for other in (f"first, {AUDIENCE}", "", None, [], [["first"]], {"first": 1}):
        with pytest.raises(NotProven, match="aud"):
            verify(issuer.token(aud=other), keys, rules, NOW)
    with pytest.raises(NotProven, match="aud"):
        verify(issuer.token(), keys, TokenRules(ISSUER, ","), NOW)


def test_without_rules_any_issuer_and_audience_will_do(issuer: Issuer, keys: KeyFiles) -> None:
    assert verify(issuer.token(iss="x", aud=None), keys, TokenRules(), NOW)["iss"] == "x"


@TOLERANT
@given(at=st.integers(0, 10_000), letter=st.sampled_from("AZaz09-_."))
def test_no_changed_letter_goes_unnoticed(at: int, letter: str, issuer: Issuer, keys: KeyFiles) -> None:
    """But for the last letter of each part, of which base64 leaves some bits unused."""
    token = issuer.token()
    at %= len(token)
    if token[at] == letter or "." in (token + ".")[at : at + 2]:
        return
    with pytest.raises(NotProven):
        verify(token[:at] + letter + token[at + 1 :], keys, RULES, NOW)


@TOLERANT
@given(token=st.text(max_size=300) | THREE_PARTS.map(lambda parts: ".".join(map(part, parts))))
def test_garbage_is_always_refused_the_same_way(token: str, keys: KeyFiles) -> None:
    with pytest.raises(NotProven):
        verify(token, keys, RULES, NOW)


def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path, NOW)
    keys, before = KeyFiles([issuer.trusted]), issuer.token()
    issuer.trust(issuer.rsa)
    with pytest.raises(NotProven, match="not trusted"):
        verify(before, keys, RULES, NOW)
    issuer.trust(issuer.ec)
    assert verify(before, keys, RULES, NOW)
    issuer.trusted.write_text("half a fi")
    assert verify(before, keys, RULES, NOW)  # what was read last stays, and the log says so


def test_pem_files_are_keys_by_their_thumbprints(tmp_path: Path) -> None:
    """Public or private, several in one file; only the public part is kept."""
    ec, other = ECKey.generate_key("P-256"), RSAKey.generate_key(2048)
    path = tmp_path / "keys.pem"
    path.write_bytes(ec.as_pem(private=True) + b"\n" + other.as_pem(private=False))
    keys = KeyFiles([path])
    found = keys.find(ec.thumbprint())
    assert (found.algorithm, found.jwk.is_private) == ("ES256", False)
    assert keys.find(other.thumbprint()).algorithm == "RS256"


def short_rsa_key() -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505 - to be refused
    n, e = (part(value.to_bytes((value.bit_length() + 7) // 8)) for value in (numbers.n, numbers.e))
    return {"kty": "RSA", "n": n, "e": e}


BAD_KEYS: dict[str, Callable[[], dict[str, Any]]] = {
    "a shared secret": lambda: dict(OctKey.generate_key(256).as_dict(private=True)),
    "another curve": lambda: dict(ECKey.generate_key("P-384").as_dict(private=False)),
    "Ed25519": lambda: dict(OKPKey.generate_key("Ed25519").as_dict(private=False)),
    "a short RSA key": short_rsa_key,
    "no key": lambda: {"kty": "EC"},
    "a key for another algorithm": lambda: {**RSAKey.generate_key(2048).as_dict(private=False), "alg": "PS256"},
}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("case", BAD_KEYS)
def test_keys_that_no_token_may_be_signed_with_are_refused_at_the_start(case: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [BAD_KEYS[case]()]}))
    with pytest.raises(BadSettings, match="token_keys"):
        KeyFiles([path])


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"keys": 1}', '{"keys": [1]}', "-----BEGIN X-----\n-----END X-----"],
)
def test_files_without_keys_are_refused_at_the_start(content: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(BadSettings, match="token_keys"):
        KeyFiles([path, tmp_path / "missing"])
