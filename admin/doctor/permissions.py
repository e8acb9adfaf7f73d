"""Files that hold secrets, or that decide who may do what: whether others can read or change them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ...core.errors import BadSettings
from ...core.settings import load
from ...server.auth.issuers import entries
from ..tokens import key_folder
from .findings import Check, Finding
from .patient import Patient

CHECK = Check("permissions")
_OF_OTHERS = stat.S_IRWXO
_OF_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAY_CHANGE = stat.S_IWGRP | stat.S_IWOTH
#: How private keys show in PEM files and JWKS.
_PRIVATE = (b"PRIVATE KEY", b'"d"')


def check(patient: Patient) -> Iterator[Finding]:
    for path in patient.config_files:
        yield from _config(path)
    for path in _owners_alone(patient):
        yield from _private(path)
    for path in _trusted(patient):
        yield from _unchanged_by_others(path)
    for _, issuer in entries(patient.settings.server):
        for path in _paths(issuer.keys):
            yield from _only_public(path)
    if patient.sqlite_file is not None:
        yield from _database(patient.sqlite_file)


def _owners_alone(patient: Patient) -> list[Path]:
    """Files that nobody but their owner may read."""
    kind, _, name = patient.settings.server.secrets_key.partition(":")
    found = [Path(name)] if kind == "file" else []
    if patient.state is not None:
        keys = key_folder(patient.state)
        found += [keys.signing_key, keys.secrets_key, keys.pilot_token]
    if token_file := patient.environ.get("PANDA_AUTH_TOKEN"):
        found.append(Path(token_file))
    return sorted({path for path in found if path.is_file()})


def _trusted(patient: Patient) -> list[Path]:
    """Files that say who may come in: whoever can change them can be anybody."""
    server = patient.settings.server
    named = [server.auth_policies, *(name for _, issuer in entries(server) for name in (issuer.keys, issuer.policies))]
    return sorted({path for names in named for path in _paths(names) if path.is_file()})


def _paths(names: str) -> list[Path]:
    return [Path(name.strip()) for name in names.split(",") if name.strip()]


def _config(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        yield CHECK.fault(str(path), "everybody on this machine can change it", f"chmod o-w {path}")
    elif mode & _OF_OTHERS and _has_passwords(path):
        yield CHECK.fault(
            str(path), "it holds a password, and everybody on this machine can read it", f"chmod o= {path}"
        )
    else:
        yield CHECK.ok(str(path), "only those who should can read and change it")


def _has_passwords(path: Path) -> bool:
    """Whether a file sets a password, by itself or in the database's URL; one that is only a part of a whole may."""
    try:
        settings = load([path]).settings
    except BadSettings:
        return True
    sections: list[Any] = [settings.database, settings.notify]
    values = [value for section in sections for _, value in section]
    told = any(isinstance(value, SecretStr) and value.get_secret_value() for value in values)
    return told or ":" in sections[0].url.partition("://")[2].rpartition("@")[0]


def _private(path: Path) -> Iterator[Finding]:
    seen = path.stat()
    if seen.st_mode & _OF_GROUP_AND_OTHERS:
        yield CHECK.fault(str(path), "it holds a secret that others can read", f"chmod 600 {path}, and make a new one")
    elif not os.access(path, os.R_OK):
        yield CHECK.fault(str(path), f"user id {os.getuid()} cannot read it", "give it to who runs the part")
    else:
        yield CHECK.ok(str(path), "only its owner can read it")


def _unchanged_by_others(path: Path) -> Iterator[Finding]:
    if path.stat().st_mode & _MAY_CHANGE:
        what = "it says who may come in, and others than its owner can change it"
        yield CHECK.fault(str(path), what, f"chmod go-w {path}")


def _only_public(path: Path) -> Iterator[Finding]:
    if path.is_file() and any(sign in path.read_bytes() for sign in _PRIVATE):
        what = "it holds a private key, with which whoever reads it can be anybody"
        yield CHECK.warning(str(path), what, "give the server the public keys alone")


def _database(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode if path.exists() else 0
    if mode & stat.S_IWOTH:
        yield CHECK.fault(str(path), "everybody on this machine can change the database", f"chmod o-w {path}")
    elif mode & stat.S_IROTH and not _is_shut_off(path):
        yield CHECK.warning(str(path), "everybody on this machine can read the database", f"chmod o= {path}")


def _is_shut_off(path: Path) -> bool:
    """Whether some folder above lets no others in."""
    return any(not folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents)
