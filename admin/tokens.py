"""Keys and tokens of a system on one machine: made by `bamboo up`, kept in its state folder, for its user's eyes only.

`auth/` in the state folder: `signing_key.pem` signs tokens, `trusted_keys.json` is what the server verifies them with,
`policies.json` says which of their groups give which roles, `secrets_key` seals users' secrets, `pilot_token` is what
the local pilots show. Tokens for users are issued when they are asked for, and kept nowhere.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.fernet import Fernet
from joserfc import jwt
from joserfc.jwk import ECKey

from ..core.errors import Fault, Invalid, NotFound
from ..core.files import replace_file
from ..core.settings import IssuerEntry, ServerSection
from ..server.auth.tokens import QUEUES_CLAIM
from .state import StateFolder

VO = "bamboo"
ISSUER = "urn:bamboo:local"
#: A token of the local system names its roles as groups `bamboo/<role>`; `bamboo` alone makes a user.
ROLES = ("user", "pilot", "production", "admin")
USER_DAYS = 30
#: As long as the pilots of `bamboo up` live.
PILOT_DAYS = 365


@dataclass(frozen=True)
class KeyFolder:
    """The folder with a local system's keys and tokens."""

    root: Path

    @property
    def signing_key(self) -> Path:
        return self.root / "signing_key.pem"

    @property
    def trusted_keys(self) -> Path:
        return self.root / "trusted_keys.json"

    @property
    def policies(self) -> Path:
        return self.root / "policies.json"

    @property
    def secrets_key(self) -> Path:
        return self.root / "secrets_key"

    @property
    def pilot_token(self) -> Path:
        return self.root / "pilot_token"

    @property
    def issuer(self) -> IssuerEntry:
        """What a server has to know of it to take its tokens."""
        return IssuerEntry(issuer=ISSUER, keys=str(self.trusted_keys), policies=str(self.policies))

    def issuers_beside(self, section: ServerSection) -> tuple[IssuerEntry, ...]:
        """The `more_issuers` of a server that takes this system's tokens beside those that its settings name."""
        first = section.token_issuer if section.token_keys else ""
        is_named = ISSUER in (first, *(entry.issuer for entry in section.more_issuers))
        return section.more_issuers if is_named else (*section.more_issuers, self.issuer)

    def prepare(self, now: datetime) -> None:
        """Make what is missing, and issue a new token for the local pilots."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.signing_key.exists():
            replace_file(self.signing_key, ECKey.generate_key("P-256").as_pem(private=True))
        if not self.secrets_key.exists():
            replace_file(self.secrets_key, Fernet.generate_key() + b"\n")
        if not self.policies.exists():
            replace_file(self.policies, json.dumps(_policies(), indent=1).encode())
        key = self._key()
        public = {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": "ES256"}
        replace_file(self.trusted_keys, json.dumps({"keys": [public]}).encode())
        # Without a newline at the end: PanDA's pilot sends the file as it is.
        replace_file(self.pilot_token, self.issue("pilot", ("pilot",), now=now, days=PILOT_DAYS).encode())

    def owner_token(self, now: datetime) -> str:
        """A token for whoever runs this: a user who may act on everything. Raises `NotFound`."""
        return self.issue(local_name(), ("production", "admin"), now=now, days=USER_DAYS)

    def issue(
        self, name: str, roles: Collection[str], *, now: datetime, days: float, queues: Collection[str] = ()
    ) -> str:
        """A new token; `user` comes with every role but `pilot`. With `queues` it takes jobs of no other.

        Raises `Invalid` and `NotFound`.
        """
        unknown = sorted(set(roles) - set(ROLES))
        if unknown:
            raise Invalid("the token", [Fault("role", f"{unknown[0]!r} is none", f"there are {', '.join(ROLES)}")])
        if queues and "pilot" not in roles:
            raise Invalid("the token", [Fault("queue", "only pilots work for queues", "add --role pilot")])
        groups = [f"{VO}/{role}" for role in roles if role != "user"]
        claims = {
            "iss": ISSUER,
            "sub": name,
            "name": name,
            "preferred_username": _nickname(name),
            "groups": groups if set(roles) == {"pilot"} else [VO, *groups],
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int((now + timedelta(days=days)).timestamp()),
            "jti": secrets.token_hex(8),
            **({QUEUES_CLAIM: sorted(queues)} if queues else {}),
        }
        key = self._key()
        return jwt.encode({"alg": "ES256", "kid": key.thumbprint()}, claims, key, ["ES256"])

    def _key(self) -> ECKey:
        try:
            return ECKey.import_key(self.signing_key.read_text())
        except FileNotFoundError:
            raise NotFound(f"there is no signing key in {self.root}", hint="`bamboo up` makes it") from None


def key_folder(state: StateFolder) -> KeyFolder:
    return KeyFolder(state.auth)


def local_name() -> str:
    """The login name of whoever runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def _nickname(name: str) -> str:
    """What stands after `user.` in names of datasets."""
    return "".join(letter for letter in name.lower() if letter.isascii() and (letter.isalnum() or letter in "_-"))


def _policies() -> dict[str, list[list[object]]]:
    groups = {VO: "user", **{f"{VO}/{role}": role for role in ROLES if role != "user"}}
    return {VO: [[group, {"group": VO, "role": role}] for group, role in groups.items()]}
