"""The keys that tokens may be signed with, each with the one algorithm that it is for."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey

from ...core.errors import BadSettings, Fault, Unavailable

log = logging.getLogger(__name__)

#: The only algorithms there are: others are either weak or, as HS256, mean that whoever verifies can also sign.
ALGORITHMS = ("RS256", "ES256")
MIN_RSA_BITS = 2048
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class VerificationKey:
    """A public key under its id. The algorithm belongs to the key: what a token's header says is only compared."""

    kid: str
    algorithm: str
    jwk: RSAKey | ECKey


class KeySource(Protocol):
    """Where verification keys come from: files, or a provider (`provider.ProviderKeys`)."""

    def find(self, kid: str) -> VerificationKey | None:
        """The key of that id, if it is trusted now; raises `Unavailable` when nobody can say."""


class KeySources:
    """Several sources as one: a key is trusted that any of them has."""

    def __init__(self, sources: Iterable[KeySource]) -> None:
        self._sources = tuple(sources)

    def find(self, kid: str) -> VerificationKey | None:
        away: Unavailable | None = None
        for source in self._sources:
            try:
                found = source.find(kid)
            except Unavailable as error:
                away = error
                continue
            if found is not None:
                return found
        if away is not None:
            raise away
        return None


class KeyFiles:
    """Keys from JWKS or PEM files. Changed files are read again, so that keys come and go without a restart."""

    def __init__(self, paths: Iterable[Path], where: str = "[server] token_keys") -> None:
        """Raises `BadSettings` for a file that cannot be used; `where` they are named is told with it."""
        self._paths = tuple(paths)
        self._where = where
        self._stamp = self._look()
        self._keys = read_keys(self._paths, self._where)

    def find(self, kid: str) -> VerificationKey | None:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = read_keys(self._paths, self._where)
            except BadSettings as error:
                extra = {"event": "bad_key_files", "problem": str(error)}
                log.error("key files cannot be used; the keys of before stay", extra=extra)
        return self._keys.get(kid)

    def _look(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_keys(paths: Iterable[Path], where: str) -> Mapping[str, VerificationKey]:
    """All keys of the files by their ids; raises `BadSettings` with every fault."""
    keys: dict[str, VerificationKey] = {}
    faults: list[Fault] = []
    for path in paths:
        try:
            found = [verification_key(entry) for entry in _entries(path.read_text())]
        except (OSError, ValueError, JoseError) as error:
            faults.append(Fault(f"{where}: {path}", str(error) or type(error).__name__, "correct the file"))
            continue
        if not found:
            faults.append(Fault(f"{where}: {path}", "has no key in it", "give a JWKS or PEM file"))
        keys |= {key.kid: key for key in found}
    if faults:
        raise BadSettings("the token keys cannot be used", faults)
    return keys


def _entries(text: str) -> list[dict[str, Any] | str]:
    """The keys of a file, unread: JWKs, or blocks of PEM."""
    if not text.lstrip().startswith("{"):
        return [block.group(0) for block in _PEM.finditer(text)]
    document = json.loads(text)
    return list(jwks_entries(document if "keys" in document else {"keys": [document] if "kty" in document else []}))


def jwks_entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keys of a JWKS that are for signatures, unread (RFC 7517); raises `ValueError`."""
    keys = document["keys"]
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError("`keys` is no list of JWKs")
    return [key for key in keys if key.get("use", "sig") == "sig"]


def verification_key(entry: dict[str, Any] | str) -> VerificationKey:
    """A key with its public part only; raises `ValueError` or `JoseError` for what no token may be signed with."""
    jwk = _imported(entry)
    if isinstance(jwk, RSAKey):
        algorithm = "RS256"
        if jwk.public_key.key_size < MIN_RSA_BITS:
            raise ValueError(f"an RSA key has only {jwk.public_key.key_size} bits, less than {MIN_RSA_BITS}")
    elif isinstance(jwk, ECKey) and jwk.curve_name == "P-256":
        algorithm = "ES256"
    else:
        raise ValueError("a key is neither RSA (RS256) nor EC on P-256 (ES256)")
    told = entry if isinstance(entry, dict) else {}
    kid, given = told.get("kid"), told.get("alg", algorithm)
    if given != algorithm:
        raise ValueError(f"a key is for alg {str(given)[:40]!r}, not for {algorithm}")
    public = type(jwk).import_key(jwk.as_dict(private=False))
    return VerificationKey(str(kid or jwk.thumbprint()), algorithm, public)


def _imported(entry: dict[str, Any] | str) -> object:
    if isinstance(entry, dict):
        return JWKRegistry.import_key(entry)
    for kind in (ECKey, RSAKey):
        try:
            return kind.import_key(entry)
        except (JoseError, ValueError, TypeError, AttributeError):
            continue
    raise ValueError("a block of PEM is neither an RSA nor an EC key")
