"""Certificates, as a front end tells of them that ends TLS: the one way in that does not need a token.

Off unless [server] trusted_front_ends names its address. It shows a secret too, for an address alone is anybody's who
has a login on that machine. From everybody else these headers mean nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass

from flask import Request

from ...core.errors import Fault
from ...core.files import referenced
from ...core.settings import ServerSection
from .errors import NotProven

SUBJECT_HEADER = "SSL-Client-S-DN"
VERIFY_HEADER = "SSL-Client-Verify"
SECRET_HEADER = "X-Bamboo-Front-End"  # noqa: S105 - where the secret stands
LEAST_SECRET = 32
#: What front ends write where there is no certificate.
NO_SUBJECT = frozenset({"", "(null)", "-"})
_WHERE = "[server] trusted_front_ends"
_PART = re.compile(r"/(?=[A-Za-z][A-Za-z0-9.]*=)")
_PROXY = re.compile(r"(/CN=(proxy|limited proxy|[0-9]+))+$")
_NOT_A_NAME = re.compile(r"proxy|limited proxy|[0-9]+|Robot:.*|nickname:.*")
_NUMBER = re.compile(r"[ _][0-9]+")
_MAIL = re.compile(r" [a-z][\w.-]+@[\w.-]+\.\w+")


@dataclass(frozen=True)
class FrontEnds:
    """The front ends that are believed."""

    addresses: frozenset[str]
    secret: str

    @classmethod
    def build(cls, section: ServerSection) -> FrontEnds | None:
        """Those of the settings, which `front_end_faults` has found right; None when there are none."""
        names = _names(section)
        return cls(frozenset(map(_canonical, names)), referenced(section.front_end_secret).strip()) if names else None

    def subject(self, request: Request) -> str:
        """The subject of the certificate that the caller has shown to a front end, empty for none.

        Raises `NotProven` where something is wrong with it.
        """
        subject = request.headers.get(SUBJECT_HEADER, "")
        if _canonical(request.remote_addr or "") not in self.addresses or subject in NO_SUBJECT:
            return ""
        shown = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(shown.encode(), self.secret.encode()):
            raise NotProven("the front end does not show its secret", hint=f"have it set {SECRET_HEADER}")
        if request.headers.get(VERIFY_HEADER) != "SUCCESS":
            raise NotProven("the front end has not verified the certificate", hint=f"have it set {VERIFY_HEADER}")
        if "://" in request.headers.get("Origin", "") or "Sec-Fetch-Site" in request.headers:
            # A browser shows the certificate whatever page asks it to.
            raise NotProven("certificates are not taken from web pages", hint="use a program, or a token")
        if not subject.startswith("/"):
            raise NotProven(
                "the subject of the certificate is not in the form /C=…/CN=…",
                hint="have the front end write it so (Apache: SSLOptions +LegacyDNStringFormat)",
            )
        return subject


def names_of(subject: str) -> frozenset[str]:
    """What of a subject may stand in the policies: all of it, and what is left without the ends that proxies add."""
    return frozenset({subject, _PROXY.sub("", subject)} - {""})


def user_name_of(subject: str) -> str:
    """PanDA's user name for a subject (panda-server's `clean_user_id`); raises `NotProven` when there is none.

    The last CN that is a name, without numbers at the end of words, without brackets, apostrophes and mail address.
    """
    parts = [part.partition("=") for part in _PART.split(subject)]
    common = [value for key, _, value in parts if key == "CN" and not _NOT_A_NAME.fullmatch(value)]
    name = _NUMBER.sub("", common[-1]).translate(str.maketrans("", "", "()'")) if common else ""
    without_mail = _MAIL.sub("", name).strip()
    name = without_mail if " " in without_mail else name
    if not name or len(name) > 128 or not name.isprintable():
        raise NotProven("the certificate has no usable name in its subject", hint="a CN of at most 128 letters")
    return name


def front_end_faults(section: ServerSection) -> list[Fault]:
    """What is wrong with the settings about front ends: whatever could let in somebody who shows no certificate."""
    names = _names(section)
    faults = []
    for name in names:
        try:
            if ipaddress.ip_address(name).is_unspecified:
                raise ValueError
        except ValueError:
            faults.append(Fault(_WHERE, f"{name!r} is not the address of one machine", "give it in numbers"))
    if names and section.token_authType == "none":  # noqa: S105 - a kind of token, none itself
        what = "whoever comes through a front end on this machine would be believed without a certificate"
        faults.append(Fault(_WHERE, what, "set token_authType to oidc or x509"))
    if names:
        faults += _secret_faults(section.front_end_secret)
    if names and not section.auth_policies:
        do = "name the JSON file that says which subjects have which roles"
        faults.append(Fault("[server] auth_policies", "missing, so no certificate could give a role", do))
    return faults


def _secret_faults(setting: str) -> list[Fault]:
    where = "[server] front_end_secret"
    do = "give file:PATH of a file that only the server can read, or env:NAME"
    try:
        secret = referenced(setting).strip()
    except (KeyError, OSError, ValueError):
        return [Fault(where, "missing, or leads to nothing", do)]
    if len(secret) < LEAST_SECRET or not (secret.isascii() and secret.isprintable()):
        return [Fault(where, f"has less than {LEAST_SECRET} plain letters", "make one: openssl rand -hex 32")]
    return []


def _names(section: ServerSection) -> list[str]:
    return [name.strip() for name in section.trusted_front_ends.split(",") if name.strip()]


def _canonical(address: str) -> str:
    """One spelling for each address; an IPv4 address that came by IPv6 is the IPv4 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)
