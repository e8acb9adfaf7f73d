"""Verifying a bearer token: a JWT whose signature, times, issuer and audience are all right.

Nothing in a token is believed before its signature is verified, and of its header only the key's id is used: addresses
and keys in it (`jku`, `x5u`, `jwk`) are never looked at. Every refusal names the check that failed and what fixes it.
"""

from __future__ import annotations

import binascii
import json
import math
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from .errors import NotProven
from .keys import ALGORITHMS, KeySource, VerificationKey

#: Longer tokens are refused unread.
MAX_TOKEN_BYTES = 16384
#: Clocks may differ by so much when a token begins; when it ends there is no grace (WLCG profile).
NOT_BEFORE_LEEWAY_SECONDS = 60
#: The claim with the queues that a pilot's token is for; without it, it is for all.
QUEUES_CLAIM = "bamboo_queues"
ASK_ANEW = "get a new one: `bamboo login`, or `bamboo client env` on the server's machine"
_REGISTRY = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_REGISTRY.max_header_length = MAX_TOKEN_BYTES


@dataclass(frozen=True)
class TokenRules:
    """What tokens must say beside being signed; empty where anything is right.

    Of several audiences, with commas between, one will do: each VO may have a client of its own at the provider.
    """

    issuer: str = ""
    audience: str = ""

    @property
    def audiences(self) -> frozenset[str]:
        return frozenset(name.strip() for name in self.audience.split(",") if name.strip())


def verify(token: str, keys: KeySource, rules: TokenRules, now: datetime) -> Mapping[str, Any]:
    """The claims of a token; raises `NotProven` when any check fails."""
    if len(token) > MAX_TOKEN_BYTES:
        raise NotProven(f"the token has {len(token)} bytes, more than {MAX_TOKEN_BYTES}", hint="ask for fewer claims")
    key = key_of(token, keys)
    try:
        content = jws.deserialize_compact(token, key.jwk, [key.algorithm], _REGISTRY)
    except (JoseError, ValueError):
        raise NotProven("the token's signature is wrong", hint=ASK_ANEW) from None
    claims = _object(content.payload or b"", "claims")
    check_times(claims, now)
    _check_parties(claims, rules)
    return claims


def issuer_named(token: str) -> str:
    """Who a token says has issued it, to choose the keys by that it is verified with; empty if that cannot be read."""
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
        return ""
    try:
        issuer = _object(_decoded(token.split(".")[1], "claims"), "claims").get("iss")
    except NotProven:
        return ""
    return issuer if isinstance(issuer, str) else ""


def key_of(token: str, keys: KeySource) -> VerificationKey:
    """The trusted key that a token says it is signed with; raises `NotProven`."""
    return _key_for(_header(token), keys)


def _header(token: str) -> Mapping[str, Any]:
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise NotProven("the token is no JWT: it is not three parts with dots between", hint="send the token alone")
    return _object(_decoded(parts[0], "header"), "header")


def _decoded(part: str, what: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise NotProven(f"the token's {what} is no base64", hint=ASK_ANEW) from None


def _key_for(header: Mapping[str, Any], keys: KeySource) -> VerificationKey:
    """The key that a header asks for, if that is one of ours and of the right kind."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise NotProven(
            f"the token is signed by alg {str(algorithm)[:40]!r}, which is not accepted",
            hint=f"use {' or '.join(ALGORITHMS)}",
        )
    if "crit" in header or "b64" in header:
        raise NotProven("the token's header has critical extensions, which are not understood", hint=ASK_ANEW)
    if not isinstance(kid, str) or not kid:
        raise NotProven("the token names no key: its header has no kid", hint=ASK_ANEW)
    key = keys.find(kid)
    if key is None:
        raise NotProven(
            f"the token is signed by key {kid[:80]!r}, which is not trusted (any more)",
            hint=f"{ASK_ANEW}, or have the key added to [server] token_keys",
        )
    if key.algorithm != algorithm:
        raise NotProven(f"the token says alg {algorithm}, but its key is for {key.algorithm}", hint=ASK_ANEW)
    return key


def check_times(claims: Mapping[str, Any], now: datetime) -> None:
    """Raises `NotProven` for the claims of a token that has expired, never does, or is not valid yet."""
    moment = now.timestamp()
    expires, begins = _seconds(claims, "exp"), _seconds(claims, "nbf")
    if expires is None:
        raise NotProven("the token never expires: it has no exp", hint="ask for a token with a lifetime")
    if moment >= expires:
        raise NotProven(f"the token expired at {_told(expires)}", hint=ASK_ANEW)
    if begins is not None and moment < begins - NOT_BEFORE_LEEWAY_SECONDS:
        raise NotProven(f"the token is not valid before {_told(begins)} (nbf)", hint="wait, or set the clock right")


def _check_parties(claims: Mapping[str, Any], rules: TokenRules) -> None:
    if rules.issuer and claims.get("iss") != rules.issuer:
        raise NotProven(
            f"the token was issued (iss) by {str(claims.get('iss'))[:200]!r}", hint=f"get one from {rules.issuer}"
        )
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if rules.audience and not any(isinstance(name, str) and name in rules.audiences for name in named):
        raise NotProven(f"the token is for (aud) {str(audience)[:200]!r}", hint=f"get one for {rules.audience}")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NotProven(f"the token's {name} is no number of seconds", hint=ASK_ANEW)
    return value


def _told(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:.0f}"


def _object(raw: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise NotProven(f"the token's {what} is no JSON", hint=ASK_ANEW) from None
    if not isinstance(value, dict):
        raise NotProven(f"the token's {what} is no JSON object", hint=ASK_ANEW)
    return value
