"""An issuer of tokens, right ones and wrong ones, and a server's settings that trust it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from bamboo.core.settings import ServerSection

ISSUER = "https://issuer.test"
AUDIENCE = "bamboo.test"
#: Signs under headers with anything in them.
LAX = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
POLICIES = {
    "cms": [
        ["/cms", {"group": "cms", "role": "user"}],
        ["/cms/prod", {"group": "prod", "role": "production"}],
        ["/cms/pilots", {"group": "pilots", "role": "pilot"}],
        ["/cms/admins", {"group": "admins", "role": "admin"}],
    ],
    "vo.dotted.org": [
        ["dotted", {"group": "dotted", "role": "user"}],
        ["dotted/prod", {"group": "prod", "role": "production"}],
    ],
}


@dataclass
class Issuer:
    """Signs with an EC and an RSA key, whose public parts stand in `trusted`."""

    folder: Path
    now: datetime
    ec: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "ec"}))
    rsa: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "rsa"}))

    def __post_init__(self) -> None:
        self.policies = self.folder / "policies.json"
        self.policies.write_text(json.dumps(POLICIES))
        self.trusted = self.folder / "trusted.json"
        self.trust(self.ec, self.rsa)

    def trust(self, *keys: ECKey | RSAKey) -> None:
        """Replace the trusted keys."""
        self.trusted.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))

    def section(self, **changes: Any) -> ServerSection:
        """A server that takes this issuer's tokens, and nothing else."""
        given: dict[str, Any] = {
            "token_authType": "oidc",
            "token_keys": str(self.trusted),
            "token_issuer": ISSUER,
            "token_audience": AUDIENCE,
            "auth_policies": str(self.policies),
            "cache_dir": self.folder / "cache",
            "public_url": "http://bamboo.test:25080",
        }
        return ServerSection(**{**given, **changes})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a user that are right now; None takes one out."""
        given = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "0001",
            "name": "alice EXAMPLE",
            "preferred_username": "alice",
            "groups": ["/cms"],
            "exp": int(self.now.timestamp()) + 3600,
            "nbf": int(self.now.timestamp()),
        }
        return {name: value for name, value in {**given, **changes}.items() if value is not None}

    def token(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        return self.sign(self.claims(**changes), header)

    def sign(self, claims: dict[str, Any], header: Mapping[str, Any] | None = None) -> str:
        return jwt.encode({"alg": "ES256", "kid": "ec", **(header or {})}, claims, self.ec, registry=LAX)
