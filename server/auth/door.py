"""The door: every request passes it and gets a `Caller`, or is refused, before any route sees it.

Four ways in: a bearer token with the VO in `Origin`, as PanDA's clients and pilots send it (client protocol 3.2, 4);
the token that a pilot got with its job; where [server] trusted_front_ends is set, a certificate that a front end has
verified; and, only where token_authType is `none`, a request from this very machine that just says a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Request

from ...core.addresses import is_loopback
from ...core.clock import Clock, utc_now
from ...core.errors import BadSettings, Fault, Invalid
from ...core.settings import ServerSection
from . import issuers
from .attempt_tokens import PREFIX, AttemptTokens
from .caller import Caller, how_to_get
from .errors import NotAdmitted, NotProven
from .front_end import FrontEnds, front_end_faults, names_of, user_name_of
from .issuers import Issuer, issuer_of
from .memory import Memory, Proof
from .policies import Policies
from .tokens import QUEUES_CLAIM, key_of, verify

USER_HEADER = "X-Bamboo-User"
ANONYMOUS = "anonymous"
HOW_TO_COME_IN = (
    "say `bamboo login`, or send a token (`Authorization: Bearer …`); on the server's machine, `bamboo client env`"
)
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,127}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: What proxies add: behind one, nobody can tell who is on this machine.
PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@dataclass(frozen=True)
class Door:
    """Tells who makes a request. `policies` are those for certificates; each issuer of tokens has its own."""

    trusts_this_machine: bool
    issuers: tuple[Issuer, ...]
    policies: Policies
    own_hosts: Collection[str] = ()
    front_ends: FrontEnds | None = None
    attempts: AttemptTokens | None = None
    memory: Memory = field(default_factory=Memory)

    @classmethod
    def build(cls, section: ServerSection, clock: Clock = utc_now) -> Door:
        """The door that the settings describe; raises `BadSettings` when it would let in nobody, or anybody.

        `clock` tells how old the keys are that a provider gave.
        """
        faults = _faults(section)
        if faults:
            raise BadSettings("the server cannot tell who is who", faults)
        hosts = {section.host, urlsplit(section.public_url).hostname or ""}
        return cls(
            trusts_this_machine=section.token_authType == "none",  # noqa: S105 - a kind of token, none itself
            issuers=issuers.build(section, clock),
            policies=Policies.load(Path(section.auth_policies)) if section.trusted_front_ends else Policies({}),
            own_hosts=frozenset(hosts - {""}),
            front_ends=FrontEnds.build(section),
            attempts=AttemptTokens.build(section.secrets_key),
        )

    def caller(self, request: Request, now: datetime) -> Caller:
        """Who makes a request; raises `NotProven`, `NotAdmitted`, and `Invalid` for a name that cannot be one."""
        token, origin = bearer(request.headers.get("Authorization", "")), request.headers.get("Origin", "")
        if token.startswith(PREFIX):
            return self._attempt(token, now)
        if token and self.issuers:
            return self.memory.find(token, origin, now) or self._prove(token, origin, now)
        subject = self.front_ends.subject(request) if self.front_ends and not token else ""
        if subject:
            name, groups = user_name_of(subject), names_of(subject)
            return _member("certificate's subjects", name, "", groups, origin, self.policies)
        if self.trusts_this_machine and self._is_from_here(request):
            return _named(request.headers.get(USER_HEADER, ANONYMOUS))
        if token:
            raise NotProven(
                "tokens cannot be verified here: the server knows no keys",
                hint="set [server] token_keys; `bamboo up` does so",
            )
        raise NotProven("this request shows no token", hint=HOW_TO_COME_IN)

    def known(self, authorization: str, origin: str, now: datetime) -> Caller | None:
        """Who shows a token, when that can be told at once; None if it has to be verified, or shown elsewhere.

        Raises `NotProven`.
        """
        token = bearer(authorization)
        return self._attempt(token, now) if token.startswith(PREFIX) else self.memory.find(token, origin, now)

    def shown(self, request: Request, vo: str, now: datetime) -> tuple[Mapping[str, Any] | None, Policies]:
        """The claims of the token that a request shows, verified anew, and the policies for them.

        Without a token there are no claims, and the policies are those that know the caller's VO. Raises `NotProven`.
        """
        token = bearer(request.headers.get("Authorization", ""))
        if not token or not self.issuers:
            known = (issuer.policies for issuer in self.issuers if vo in issuer.policies.by_vo)
            return None, next(known, self.policies)
        return self.verified(token, now), issuer_of(token, self.issuers).policies

    def verified(self, token: str, now: datetime) -> Mapping[str, Any]:
        """The claims of a token; raises `NotProven` unless an issuer has signed it and it may be used here."""
        issuer = issuer_of(token, self.issuers)
        return verify(token, issuer.keys, issuer.rules, now)

    def _attempt(self, token: str, now: datetime) -> Caller:
        if self.attempts is None:
            what = "tokens for attempts cannot be opened here: the server has no secrets_key"
            raise NotProven(what, hint="send the pilot's own token")
        return self.attempts.caller(token, now)

    def _prove(self, token: str, origin: str, now: datetime) -> Caller:
        issuer = issuer_of(token, self.issuers)
        claims = verify(token, issuer.keys, issuer.rules, now)
        nickname = str(claims.get("preferred_username") or "")
        found = _member(
            "token's groups",
            _user_name(claims),
            nickname,
            groups_of(claims),
            origin,
            issuer.policies,
            queues=_queues(claims),
        )
        self.memory.keep(token, origin, Proof(issuer.keys, key_of(token, issuer.keys), claims, found))
        return found

    def _is_from_here(self, request: Request) -> bool:
        """Whether a program on this machine asks. Web pages do not count: a browser carries them in from anywhere."""
        if not is_loopback(request.remote_addr) or any(name in request.headers for name in PROXY_HEADERS):
            return False
        if "://" in request.headers.get("Origin", "") or "Sec-Fetch-Site" in request.headers:
            return False
        try:
            host = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:
            return False
        # A page can have its own name lead here (DNS rebinding), but that name has a dot in it.
        return "." not in host or is_loopback(host) or host in self.own_hosts


def _member(
    what: str,
    user_name: str,
    nickname: str,
    groups: Collection[str],
    origin: str,
    policies: Policies,
    queues: frozenset[str] | None = None,
) -> Caller:
    """Somebody who is proven to have these groups, with the roles that the policies give them in their VO."""
    vo, asked = _vo(origin, policies)
    found = policies.memberships(vo, groups)
    if not found:
        known = "gives them no role" if vo in policies.by_vo else "is not known here"
        raise NotAdmitted(
            f"the {what} {_told(groups)} let nobody in: VO {vo!r} {known}",
            hint="check the VO (`export PANDA_AUTH_VO=…`), or have the group entered in [server] auth_policies",
        )
    roles = frozenset(membership.role for membership in found)
    if asked and asked not in roles:
        raise NotAdmitted(
            f"role {asked!r} of VO {vo!r} was asked for, but there is only {_told(roles)}",
            hint=f"leave it out (`export PANDA_AUTH_VO={vo}`), or get it: {how_to_get(asked[:64])}",
        )
    return Caller(
        user_name,
        frozenset({asked}) if asked else roles,
        nickname=nickname,
        vo=vo,
        groups=frozenset(membership.group for membership in found),
        queues=queues,
    )


def _vo(origin: str, policies: Policies) -> tuple[str, str]:
    if origin and origin != "null" and "://" not in origin:
        return policies.split_origin(origin)
    if len(policies.by_vo) == 1:
        return next(iter(policies.by_vo)), ""
    raise NotProven("the request names no VO", hint="send it in the header Origin (`export PANDA_AUTH_VO=…`)")


def _faults(section: ServerSection) -> list[Fault]:
    faults = front_end_faults(section)
    if section.token_authType == "x509" and not section.trusted_front_ends:  # noqa: S105 - a kind of token
        do = "name the front end that verifies certificates, or use oidc"
        faults.append(Fault("[server] trusted_front_ends", "missing, so no certificate could be believed", do))
    return [*faults, *issuers.issuer_faults(section)]


def bearer(given: str) -> str:
    """The token in a header Authorization, empty for none; raises `NotProven` for other kinds of authorisation."""
    scheme, _, token = given.strip().partition(" ")
    if given and scheme.lower() != "bearer":
        raise NotProven("the header Authorization has no bearer token", hint="send `Bearer`, a blank, and the token")
    return token.strip()


def _user_name(claims: Mapping[str, Any]) -> str:
    """PanDA's user name: each word of `name` with its first letter in upper case; without a name, `sub`."""
    name = claims.get("name") or ""
    words = name.split() if isinstance(name, str) else []
    found = " ".join(word[:1].upper() + word[1:].lower() for word in words) or claims.get("sub") or ""
    if not isinstance(found, str) or not found or len(found) > 128 or _UNPRINTABLE.search(found):
        raise NotProven(
            "the token has no usable name: neither name nor sub",
            hint="ask whoever issued it for a name of at most 128 printable letters",
        )
    return found


def groups_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The groups that a token names."""
    return _words(claims.get("groups")) | _words(claims.get("wlcg.groups"))


def _queues(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """The queues that a pilot's token is for; None for all. What cannot be read lets nobody in, not everybody."""
    given = claims.get(QUEUES_CLAIM)
    if given is None:
        return None
    queues = _words([given] if isinstance(given, str) else given) - {""}
    if not queues or (isinstance(given, list) and len(queues) < len(given)):
        raise NotProven(
            f"the token's {QUEUES_CLAIM} is no list of queues",
            hint="get a new one: `bamboo client token --role pilot --queue NAME` on your own machine",
        )
    return queues


def _named(name: str) -> Caller:
    if not _USER.fullmatch(name):
        fault = Fault(USER_HEADER, f"{name[:80]!r} is no user name", "letters, digits, ' ._@+-'")
        raise Invalid("who is calling", [fault])
    return Caller(name, frozenset({"user", "pilot"}), is_local=True, nickname=name)


def _words(value: object) -> frozenset[str]:
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


def _told(words: Collection[str]) -> str:
    told = ", ".join(sorted(words)[:10]) or "none"
    return f"({told[:300]})"
