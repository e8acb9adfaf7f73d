"""An OpenID provider on Authlib, as a process: python oidc_provider.py FOLDER PORT [CERTIFICATE].

It has what a provider of a collaboration has: discovery, keys that can be changed, the device flow with a page where
the user answers, refresh tokens that are good once, revocation. FOLDER keeps its keys, so that it can be stopped and
started again. At /test/ a test tells it how to behave (`Behaviour`), and asks what it was asked.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from authlib.oidc.core.grants.code import OpenIDToken
from flask import Flask, Response, jsonify, request
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from oidc import CLIENT_ID, CLIENT_SECRET
from werkzeug.serving import WSGIRequestHandler, make_server

LAX = jws.JWSRegistry(algorithms=["ES256", "RS256", "RS512", "PS256"], strict_check_header=False)


@dataclass
class Behaviour:
    """What a test may change."""

    algorithm: str = "RS256"
    #: The numbers of the keys that are published; the last one signs.
    keys: list[int] = field(default_factory=lambda: [1])
    lifetime_seconds: int = 3600
    code_seconds: int = 600
    interval_seconds: int = 1
    #: So many answers say slow_down before any says something else.
    slow_downs: int = 0
    gives_refresh_token: bool = True
    #: Claims of ID tokens that are other than they should be; None takes one out.
    claims: dict[str, Any] = field(default_factory=dict)
    #: What stands otherwise in the discovery document.
    discovery: dict[str, Any] = field(default_factory=dict)
    #: The whole JWKS, in place of the right one.
    jwks: Any = None


class Keys:
    """Pairs of keys by number, an RSA and an EC key each, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, number: int, algorithm: str) -> RSAKey | ECKey:
        path = self.folder / f"{algorithm}.{number}.json"
        kid = {"kid": f"{algorithm}.{number}"}
        if not path.exists():
            made = RSAKey.generate_key(2048, kid) if algorithm == "RS256" else ECKey.generate_key("P-256", kid)
            path.write_text(json.dumps(made.as_dict(private=True)))
        return (RSAKey if algorithm == "RS256" else ECKey).import_key(json.loads(path.read_text()))

    def jwks(self, numbers: list[int]) -> dict[str, Any]:
        pairs = [(number, algorithm) for number in numbers for algorithm in ("RS256", "ES256")]
        keys = [(algorithm, self.of(number, algorithm)) for number, algorithm in pairs]
        return {"keys": [{**key.as_dict(private=False), "use": "sig", "alg": name} for name, key in keys]}


class Application(ClientMixin):
    """The one client: public where it asks for a code, with a secret where it gets tokens."""

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_post" or endpoint == "device_authorization"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type != "refresh_token" or state.behaviour.gives_refresh_token


@dataclass
class Refresh(TokenMixin):
    """A refresh token."""

    refresh_token: str
    user: str
    scope: str

    def check_client(self, client: Application) -> bool:
        return client.get_client_id() == CLIENT_ID

    def get_scope(self) -> str:
        return self.scope


@dataclass
class State:
    behaviour: Behaviour = field(default_factory=Behaviour)
    codes: dict[str, DeviceCredentialDict] = field(default_factory=dict)
    answers: dict[str, tuple[str, bool]] = field(default_factory=dict)
    refreshes: dict[str, Refresh] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)


state = State()
keys = Keys(Path(sys.argv[1]))
app = Flask(__name__)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True


def issuer() -> str:
    return request.host_url.rstrip("/")


def claims_of(user: str) -> dict[str, Any]:
    now = int(time.time())
    right = {
        "iss": issuer(),
        "aud": [CLIENT_ID],
        "iat": now,
        "nbf": now,
        "exp": now + state.behaviour.lifetime_seconds,
        "sub": f"id-of-{user}",
        "name": f"{user} example",
        "preferred_username": user,
        "groups": ["/cms"],
    }
    return {name: value for name, value in {**right, **state.behaviour.claims}.items() if value is not None}


class IdTokens(OpenIDToken):
    """Adds ID tokens to what the grants give."""

    def resolve_client_private_key(self, client: Application) -> RSAKey | ECKey:
        return keys.of(state.behaviour.keys[-1], state.behaviour.algorithm)

    def get_client_algorithm(self, client: Application) -> str:
        return state.behaviour.algorithm

    def get_encode_header(self, client: Application) -> dict[str, str]:
        return {"alg": state.behaviour.algorithm, "kid": f"{state.behaviour.algorithm}.{state.behaviour.keys[-1]}"}

    def get_client_claims(self, client: Application) -> dict[str, Any]:
        return {}

    def get_compatible_claims(self, request: Any) -> dict[str, Any]:
        return {}

    def generate_user_info(self, user: str, scope: str) -> dict[str, Any]:
        return claims_of(user)


class DeviceCodes(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

    def query_device_credential(self, device_code: str) -> DeviceCredentialDict | None:
        return state.codes.get(device_code)

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        return None if state.behaviour.slow_downs else state.answers.get(user_code)

    def should_slow_down(self, credential: DeviceCredentialDict) -> bool:
        slower = state.behaviour.slow_downs > 0
        state.behaviour.slow_downs -= slower
        return slower


class Refreshes(RefreshTokenGrant):
    """Each refresh token is good once, as with rotation (RFC 9700 4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Refresh | None:
        return state.refreshes.get(refresh_token)

    def authenticate_user(self, refresh_token: Refresh) -> str:
        return refresh_token.user

    def revoke_old_credential(self, refresh_token: Refresh) -> None:
        del state.refreshes[refresh_token.refresh_token]


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    CLIENT_AUTH_METHODS = ("client_secret_post", "none")

    def create_endpoint_response(self, request: Any) -> Any:
        self.EXPIRES_IN, self.INTERVAL = state.behaviour.code_seconds, state.behaviour.interval_seconds
        return super().create_endpoint_response(request)

    def get_verification_uri(self) -> str:
        return f"{issuer()}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        known = {"client_id": client_id, "scope": scope, "expires_at": time.time() + data["expires_in"], **data}
        state.codes[data["device_code"]] = DeviceCredentialDict(known)


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = ("client_secret_post",)

    def query_token(self, token_string: str, token_type_hint: str) -> Refresh | None:
        return state.refreshes.get(token_string)

    def revoke_token(self, token: Refresh, request: Any) -> None:
        del state.refreshes[token.refresh_token]


def save_token(token: dict[str, Any], request: Any) -> None:
    if "refresh_token" in token:
        name = token["refresh_token"]
        state.refreshes[name] = Refresh(name, request.user, token["scope"])


server = AuthorizationServer(
    app, query_client=lambda name: Application() if name == CLIENT_ID else None, save_token=save_token
)
server.register_grant(DeviceCodes, [IdTokens()])
server.register_grant(Refreshes, [IdTokens()])
server.register_endpoint(DeviceAuthorization)
server.register_endpoint(Revocation)


@app.before_request
def count() -> None:
    state.asked[request.path] += 1


@app.get("/.well-known/openid-configuration")
def discovery() -> Response:
    here = issuer()
    right = {
        "issuer": here,
        "jwks_uri": f"{here}/jwks",
        "token_endpoint": f"{here}/token",
        "device_authorization_endpoint": f"{here}/device_authorization",
        "revocation_endpoint": f"{here}/revoke",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    }
    return jsonify({name: value for name, value in {**right, **state.behaviour.discovery}.items() if value is not None})


@app.get("/jwks")
def jwks() -> Response:
    return jsonify(keys.jwks(state.behaviour.keys) if state.behaviour.jwks is None else state.behaviour.jwks)


@app.get("/moved")
def moved() -> Response:
    return Response(status=302, headers={"Location": f"{issuer()}/jwks"})


@app.get("/huge")
def huge() -> Response:
    return Response('{"keys": [' + " " * 1_000_000 + "]}", mimetype="application/json")


@app.post("/device_authorization")
def device_authorization() -> Any:
    return server.create_endpoint_response(DeviceAuthorization.ENDPOINT_NAME)


@app.post("/device")
def answer() -> str:
    """What the user's browser sends from the page with the code."""
    state.answers[request.args["user_code"]] = (request.form["user"], request.form["answer"] == "yes")
    return "thank you"


@app.post("/token")
def token() -> Any:
    return server.create_token_response()


@app.post("/revoke")
def revoke() -> Any:
    return server.create_endpoint_response(Revocation.ENDPOINT_NAME)


@app.post("/test/behave")
def behave() -> Response:
    for name, value in request.json.items():
        if name not in {known.name for known in fields(Behaviour)}:
            raise KeyError(name)
        setattr(state.behaviour, name, value)
    return jsonify({})


@app.post("/test/reset")
def reset() -> Response:
    vars(state).update(vars(State()))
    return jsonify({})


@app.get("/test/asked")
def asked() -> Response:
    return jsonify(state.asked)


@app.post("/test/sign")
def sign() -> Response:
    """A token with any claims and any header, signed by the key that is in use, or by another."""
    given, behaviour = request.json, state.behaviour
    header = {
        "alg": behaviour.algorithm,
        "kid": f"{behaviour.algorithm}.{behaviour.keys[-1]}",
        **given.get("header", {}),
    }
    claims = {**claims_of(given.get("user", "alice")), **given.get("claims", {})}
    claims = {name: value for name, value in claims.items() if value is not None}
    key = keys.of(given.get("key", behaviour.keys[-1]), given.get("signed_as", behaviour.algorithm))
    return jsonify(jwt.encode(header, claims, key, registry=LAX))


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing: tests ask at /test/asked."""


if __name__ == "__main__":
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    app.secret_key = secrets.token_bytes()
    certificate = (sys.argv[3], sys.argv[3]) if len(sys.argv) > 3 else None
    http = make_server(
        "127.0.0.1", int(sys.argv[2]), app, threaded=True, ssl_context=certificate, request_handler=Quiet
    )
    print(http.server_port, flush=True)  # noqa: T201 - the test reads it
    http.serve_forever()
