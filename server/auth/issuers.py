"""Those who issue tokens that are taken here: each has its keys, its audience, and policies for the groups it names.

The people of a collaboration come with the tokens of its provider, and the pilots of this installation with those that
its own key has signed. A token is judged by what is said of its own issuer alone: the key of one proves nothing about
what another would have said, and a group that one of them names gives no role by the policies of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.clock import Clock
from ...core.errors import Fault
from ...core.settings import IssuerEntry, ServerSection
from .errors import NotProven
from .key_copy import KeyCopy
from .keys import KeyFiles, KeySource, KeySources
from .policies import Policies
from .provider import ProviderKeys, address_faults
from .tokens import TokenRules, issuer_named


@dataclass(frozen=True)
class Issuer:
    """One of them: the keys that it signs with, what its tokens must say, and what its groups give."""

    keys: KeySource
    rules: TokenRules
    policies: Policies


def issuer_of(token: str, issuers: Sequence[Issuer]) -> Issuer:
    """The one that a token says it comes from, by whose keys that is to be proven; raises `NotProven`."""
    if len(issuers) == 1:
        return issuers[0]
    named = issuer_named(token)
    for issuer in issuers:
        if issuer.rules.issuer == named:
            return issuer
    for issuer in issuers:  # one that may be anybody; and what cannot be read is refused by any
        if not issuer.rules.issuer or not named:
            return issuer
    known = " or ".join(issuer.rules.issuer for issuer in issuers)
    raise NotProven(f"the token was issued (iss) by {named[:200]!r}", hint=f"get one from {known}")


def build(section: ServerSection, clock: Clock) -> tuple[Issuer, ...]:
    """Those that the settings name, which `issuer_faults` has found right. Raises `BadSettings`.

    `clock` tells how old the keys are that a provider gave.
    """
    copy = KeyCopy(Path(section.token_keys_copy)) if section.token_keys_copy else None
    return tuple(
        Issuer(
            _keys(where, entry, clock, copy),
            TokenRules(entry.issuer, entry.audience),
            Policies.load(Path(entry.policies)),
        )
        for where, entry in entries(section)
    )


def issuer_faults(section: ServerSection) -> list[Fault]:
    """What is wrong with what the settings say of issuers."""
    found = list(entries(section))
    faults = []
    if section.token_authType == "oidc" and not found:  # noqa: S105 - a kind of token
        do = "name a JWKS or PEM file, or an address, with the public keys of whoever issues tokens"
        faults.append(Fault("[server] token_keys", "missing, so no token could be verified", do))
    names = [entry.issuer for _, entry in found]
    for where, entry in found:
        faults += _entry_faults(where, entry)
        if names.count(entry.issuer) > 1:
            what = f"{entry.issuer!r} is there twice, and nobody could say which keys count"
            faults.append(Fault(f"{where}issuer", what, "give all keys of an issuer in one place"))
    return faults


def entries(section: ServerSection) -> Iterator[tuple[str, IssuerEntry]]:
    """What the settings say of each issuer, and where: the words that they begin with."""
    if section.token_keys:
        yield (
            "[server] token_",
            IssuerEntry(
                issuer=section.token_issuer,
                keys=section.token_keys,
                audience=section.token_audience,
                policies=section.auth_policies,
            ),
        )
    for at, entry in enumerate(section.more_issuers):
        yield f"[server] more_issuers[{at}].", entry


def _entry_faults(where: str, entry: IssuerEntry) -> Iterator[Fault]:
    is_first = where.endswith("token_")
    files, addresses = _places(entry)
    if not entry.policies:
        do = "name the JSON file that says which groups have which roles"
        name = "[server] auth_policies" if is_first else f"{where}policies"
        yield Fault(name, "missing, so no token could give a role", do)
    if not is_first and not entry.issuer:
        yield Fault(f"{where}issuer", "missing, so nobody could say whose tokens these are", "name it")
    if not files and not addresses:
        yield Fault(f"{where}keys", "missing, so no token could be verified", "name a JWKS or PEM file, or an address")
    for address in addresses:
        yield from address_faults(address, f"{where}keys")
    if addresses and is_first and not entry.issuer:
        yield Fault(f"{where}issuer", "missing, though keys come from an address", "name the provider")
    if addresses and not entry.audience:
        what = "missing: what the provider issued for others would be accepted here"
        yield Fault(f"{where}audience", what, "name what tokens for this server are for")


def _places(entry: IssuerEntry) -> tuple[list[Path], list[str]]:
    """Where keys are: files, and addresses."""
    names = [name.strip() for name in entry.keys.split(",") if name.strip()]
    return [Path(name) for name in names if "://" not in name], [name for name in names if "://" in name]


def _keys(where: str, entry: IssuerEntry, clock: Clock, copy: KeyCopy | None) -> KeySource:
    files, addresses = _places(entry)
    sources: list[KeySource] = [KeyFiles(files, f"{where}keys")] if files else []
    sources += [ProviderKeys(address, entry.issuer, clock, copy=copy) for address in addresses]
    return KeySources(sources) if len(sources) > 1 else sources[0]
