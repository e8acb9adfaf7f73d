"""Who is calling which server: from arguments first, then from the environment."""

from __future__ import annotations

import base64
import binascii
import getpass
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from ..core.errors import Fault, Invalid

DEFAULT_URL = "http://127.0.0.1:25080"
DEFAULT_VO = "bamboo"


@dataclass(frozen=True)
class Identity:
    """The caller, as the server will see them: a token if there is one, a plain name otherwise.

    The variables are PanDA's (panda-client's PANDA_AUTH_ID_TOKEN and PANDA_AUTH_VO) beside our own.
    """

    user: str
    token: str = ""
    vo: str = DEFAULT_VO

    @classmethod
    def find(
        cls,
        user: str | None = None,
        environ: Mapping[str, str] = os.environ,
        *,
        token: str | None = None,
        vo: str = DEFAULT_VO,
    ) -> Identity:
        """The identity of `user` or of whom the environment names. Raises `Invalid` for what no header can carry.

        `vo` is that of a login that is kept: the environment's is another one.
        """
        token = token or environ.get("BAMBOO_TOKEN") or environ.get("PANDA_AUTH_ID_TOKEN") or ""
        found = cls(
            user=user or environ.get("BAMBOO_USER") or login_name(),
            token=token.strip(),
            vo=environ.get("PANDA_AUTH_VO") or vo,
        )
        do = "use letters, digits and signs of plain ASCII"
        faults = [
            Fault(name, "it cannot be sent in a header", do)
            for name, value in asdict(found).items()
            if not (value.isascii() and value.isprintable())
        ]
        if faults:
            raise Invalid("identity", faults)
        return found

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries; with a token the VO goes along as `Origin`, as PanDA's client does it."""
        headers = {"X-Bamboo-User": self.user}
        if self.token:
            headers |= {"Authorization": f"Bearer {self.token}", "Origin": self.vo}
        return headers

    @property
    def nickname(self) -> str:
        """The word after `user.` in the names of this user's datasets."""
        name = str(token_claims(self.token).get("preferred_username") or self.user)
        return re.sub(r"[^A-Za-z0-9_-]", "", name) or "nobody"


def login_name() -> str:
    """The name of the login, or something like one where the user id has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def token_claims(token: str) -> Mapping[str, object]:
    """The claims inside a JWT, unverified: the server is the one to verify. Empty for any other token."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def server_url(url: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The server's address as `scheme://host[:port]`; a path after it is dropped, as PanDA's client does."""
    given = url or environ.get("BAMBOO_URL") or DEFAULT_URL
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        do = "give it like http://host:25080, by --url or BAMBOO_URL"
        raise Invalid("server address", [Fault("url", f"'{given}' is not an http or https address", do)])
    return f"{parts.scheme}://{parts.netloc}"
