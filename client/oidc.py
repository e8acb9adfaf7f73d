"""The conversation with an OpenID provider: who it is, the device flow (RFC 8628), a new token for an old one.

The token that is kept is the ID token, as it is with PanDA's client (manual ch. 7.6, client protocol 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import requests

from ..core.addresses import is_confidential
from ..core.clock import Clock
from .errors import BadReply, LoginFailed, ServerUnreachable
from .identity import token_claims
from .rows import integer, text

TIMEOUT_SECONDS = (5.0, 30.0)
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
WELL_KNOWN = "/.well-known/openid-configuration"
SCOPES = "openid profile email offline_access"
WLCG_SCOPES = f"{SCOPES} wlcg wlcg.groups"
#: RFC 8628 3.2 and 3.5: how often to ask when nothing is said, and how much less often when told to.
INTERVAL_SECONDS, SLOWER_SECONDS = 5, 5
LONGEST_INTERVAL_SECONDS = 60
LOG_IN = "say `bamboo login` again"
ADMINISTRATOR = "tell the administrator of the server"


@dataclass(frozen=True)
class Application:
    """As what we log in: an OIDC client that the server names for a VO. Its secret is known to all, and none."""

    oidc_config_url: str
    client_id: str
    client_secret: str = ""
    audience: str = ""
    jwt_profile: str = ""

    @classmethod
    def of(cls, server: str, vo: str) -> Application:
        """What a server says. Raises `LoginFailed` when it has no login for the VO, and `ServerUnreachable`."""
        status, told = _ask("GET", f"{server}/auth/{quote(vo, safe='')}_auth_config.json")
        if status == 404:
            raise LoginFailed(
                f"{server} has no login for VO {vo!r}", hint="name another by --vo, or use a token that you have"
            )
        if status != 200 or not (told.get("oidc_config_url") and told.get("client_id")):
            raise LoginFailed(f"{server} does not say how to log in to VO {vo!r} (HTTP {status})", hint=ADMINISTRATOR)
        return cls(**{name: text(told.get(name)) for name in cls.__dataclass_fields__})

    @property
    def credentials(self) -> dict[str, str]:
        secret = {"client_secret": self.client_secret} if self.client_secret else {}
        return {"client_id": self.client_id, **secret}


@dataclass(frozen=True)
class DeviceCode:
    """What the user is told, and what the provider is asked about meanwhile."""

    page: str
    user_code: str
    code: str
    expires_at: datetime
    interval_seconds: int


@dataclass(frozen=True)
class Tokens:
    """What a login gives. The refresh token is empty where the provider gives none."""

    id_token: str
    refresh_token: str


class Provider:
    """One provider, to an application of it. Raises `LoginFailed`, and `ServerUnreachable` when it is away."""

    def __init__(self, application: Application, clock: Clock) -> None:
        """Reads the provider's discovery document."""
        self._application = application
        self._clock = clock
        address = application.oidc_config_url
        if not is_confidential(address):
            raise LoginFailed(f"the login at {address} could be read on the way", hint=ADMINISTRATOR)
        status, told = _ask("GET", address)
        self.issuer = text(told.get("issuer"))
        if status != 200 or not self.issuer:
            raise LoginFailed(f"{address} describes no provider (HTTP {status})", hint=ADMINISTRATOR)
        if self.issuer.rstrip("/") + WELL_KNOWN != address:
            raise LoginFailed(f"{address} is about another issuer, {self.issuer!r}", hint=ADMINISTRATOR)
        self._endpoints = told

    def begin(self) -> DeviceCode:
        """Ask for a code that the user can confirm."""
        scope = WLCG_SCOPES if self._application.jwt_profile == "wlcg" else SCOPES
        audience = {"audience": self._application.audience} if self._application.audience else {}
        asked_at = self._clock()
        status, told = self._post("device_authorization_endpoint", {"scope": scope, **audience})
        page = text(told.get("verification_uri_complete") or told.get("verification_uri"))
        found = DeviceCode(
            page=page,
            user_code=text(told.get("user_code")),
            code=text(told.get("device_code")),
            expires_at=asked_at + timedelta(seconds=integer(told.get("expires_in")) or 0),
            interval_seconds=max(integer(told.get("interval")) or INTERVAL_SECONDS, 1),
        )
        if status != 200 or not (page and found.code):
            raise self._refusal(status, told)
        return found

    def wait_for(self, device: DeviceCode, sleep: Callable[[float], object]) -> Tokens:
        """Ask again and again, as often as the provider wants, until the user has said yes or no."""
        seconds = device.interval_seconds
        while self._clock() < device.expires_at:
            sleep(seconds)
            try:
                status, told = self._post("token_endpoint", {"grant_type": DEVICE_GRANT, "device_code": device.code})
            except ServerUnreachable:
                seconds = min(seconds * 2, LONGEST_INTERVAL_SECONDS)
                continue
            if status == 200:
                return self._tokens(told)
            if told.get("error") == "slow_down":
                seconds += SLOWER_SECONDS
            elif told.get("error") != "authorization_pending":
                raise self._refusal(status, told)
        raise self._refusal(400, {"error": "expired_token"})

    def renew(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which stays valid if no other comes."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        status, told = self._post("token_endpoint", form)
        if status != 200:
            raise self._refusal(status, told)
        return self._tokens({"refresh_token": refresh_token, **told})

    def revoke(self, refresh_token: str) -> bool:
        """Have a refresh token forgotten (RFC 7009), where the provider can."""
        if "revocation_endpoint" not in self._endpoints:
            return False
        form = {"token": refresh_token, "token_type_hint": "refresh_token"}
        return self._post("revocation_endpoint", form)[0] == 200

    def _post(self, endpoint: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        address = self._endpoints.get(endpoint)
        if not isinstance(address, str) or not is_confidential(address):
            what = "has no https" if address else "has no"
            hint = f"{ADMINISTRATOR}: the device flow has to be enabled there"
            raise LoginFailed(f"the provider {self.issuer} {what} {endpoint}", hint=hint)
        return _ask("POST", address, {**self._application.credentials, **form})

    def _tokens(self, told: Mapping[str, Any]) -> Tokens:
        """The tokens of a reply, if the ID token is one of this provider's for us (OpenID Connect Core 3.1.3.7)."""
        token = text(told.get("id_token"))
        claims = token_claims(token)
        audience = claims.get("aud")
        if not claims:
            raise LoginFailed(f"{self.issuer} gave no ID token", hint=ADMINISTRATOR)
        if claims.get("iss") != self.issuer:
            raise LoginFailed(
                f"{self.issuer} gave a token of another issuer, {claims.get('iss')!r}", hint=ADMINISTRATOR
            )
        if self._application.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise LoginFailed(f"{self.issuer} gave a token for somebody else, {audience!r}", hint=ADMINISTRATOR)
        return Tokens(token, text(told.get("refresh_token")))

    def _refusal(self, status: int, told: Mapping[str, Any]) -> LoginFailed:
        error, why = text(told.get("error")), text(told.get("error_description"))
        said = REFUSALS.get(error, f"{self.issuer} refused: {error or f'HTTP {status}'}" + (f" ({why})" if why else ""))
        return LoginFailed(said, hint=LOG_IN)


REFUSALS = {
    "access_denied": "the login was denied on the provider's page",
    "expired_token": "the code has expired before it was confirmed",
    "invalid_grant": "the login is over: the provider does not renew it any more",
}


def _ask(method: str, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON object of a reply; raises `ServerUnreachable` for none, and for one that says to come again."""
    headers = {"Accept": "application/json"}
    try:
        response = requests.request(
            method, url, data=form, headers=headers, auth=_unchanged, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
    except requests.RequestException as error:
        raise ServerUnreachable(f"no answer from {url}: {type(error).__name__}", hint="is it up?") from error
    if response.status_code >= 500 or response.status_code == 429:
        raise ServerUnreachable(f"{url} answered with HTTP {response.status_code}", hint="try again in a while")
    try:
        told = response.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        if response.status_code == 200 and response.content:
            raise BadReply(f"{url} answered with no JSON object", hint="is this the right address?")
        told = {}
    return response.status_code, told


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stands where ~/.netrc would add a password that is not asked for."""
    return request
