"""Who may come in: keys, policies, the tokens at hand, and the key that seals users' secrets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from ...client.identity import token_claims
from ...core.errors import BambooError
from ...core.settings import ServerSection
from ...server.auth.door import Door
from ...server.secret_box import SecretBox
from ..tokens import key_folder
from .findings import Check, Finding
from .patient import Patient

CHECK = Check("tokens")
_VARIABLES = ("BAMBOO_TOKEN", "PANDA_AUTH_ID_TOKEN")
_FILE_VARIABLE = "PANDA_AUTH_TOKEN"


def check(patient: Patient) -> Iterator[Finding]:
    section = _section(patient)
    try:
        door = Door.build(section)
        yield CHECK.ok("[server]", "it can be told who is who")
    except BambooError as error:
        yield from CHECK.refused("[server]", error)
        return
    if door.trusts_this_machine and not door.issuers and not _is_here(section.host, section.public_url):
        what = "callers need no token, so only those on the server's own machine are let in"
        yield CHECK.warning("[server] token_authType", what, "set it to oidc, with token_keys and auth_policies")
    yield from _secrets(section.secrets_key)
    if door.issuers or patient.state is not None:
        yield from _tokens(patient, door)


def _section(patient: Patient) -> ServerSection:
    """The server's settings; those of `bamboo up` take the tokens of its state folder too."""
    section, keys = patient.settings.server, key_folder(patient.state) if patient.state is not None else None
    if keys is None or not keys.trusted_keys.is_file() or not (section.token_keys or section.more_issuers):
        return section
    return section.model_copy(update={"more_issuers": keys.issuers_beside(section)})


def _is_here(host: str, public_url: str) -> bool:
    names = [host, *([urlsplit(public_url).hostname or ""] if public_url else [])]
    return all(name == "localhost" or _is_loopback(name) for name in names)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _secrets(setting: str) -> Iterator[Finding]:
    try:
        if SecretBox.build(setting) is not None:
            yield CHECK.ok("[server] secrets_key", "users' secrets can be sealed")
    except BambooError as error:
        yield from CHECK.refused("[server] secrets_key", error)


def _tokens(patient: Patient, door: Door) -> Iterator[Finding]:
    for where, token in _at_hand(patient).items():
        try:
            ends = _end(token)
            if door.issuers:
                door.verified(token, patient.clock())
        except BambooError as error:
            yield from CHECK.refused(where, error)
            continue
        if ends is None:
            continue
        left, days = ends - patient.clock(), patient.measures.token_days
        if left <= timedelta():
            yield CHECK.fault(where, f"the token ended at {ends:%Y-%m-%d %H:%M} UTC", "get a new one")
        elif left < timedelta(days=days):
            yield CHECK.warning(where, f"the token ends at {ends:%Y-%m-%d %H:%M} UTC", "get a new one before")
        else:
            yield CHECK.ok(where, f"the token can be used until {ends:%Y-%m-%d}")


def _at_hand(patient: Patient) -> dict[str, str]:
    """The tokens of this environment and of the state folder, by where they are."""
    found = {f"${name}": patient.environ.get(name, "") for name in _VARIABLES}
    files = [Path(patient.environ[_FILE_VARIABLE])] if patient.environ.get(_FILE_VARIABLE) else []
    files += [key_folder(patient.state).pilot_token] if patient.state is not None else []
    found |= {str(path): path.read_text().strip() for path in files if path.is_file()}
    return {where: token for where, token in found.items() if token}


def _end(token: str) -> datetime | None:
    """When a token ends, as it says itself."""
    seconds = token_claims(token).get("exp")
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None
