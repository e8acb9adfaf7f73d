"""/api/v1/creds/: the secrets that users leave for their jobs (client protocol 6.7)."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Annotated

import sqlalchemy as sa
from flask import Blueprint, Response
from pydantic import Field

from ...core.errors import BadState, Duplicate, Fault, Invalid, NotFound, TooLarge
from ...sql import secrets
from ..auth.access import OWN, PILOT, open_to
from ..bodies import WireBody
from ..context import context
from ..declared import reads
from ..envelope import said, succeeded
from ..errors import NotYet
from ..identity import caller
from ..secret_box import SecretBox

routes = Blueprint("creds", __name__)

#: Before the name of a secret that jobs find as a file; its value is base64.
FILE_PREFIX = "___file___:"
MAX_VALUE_CHARACTERS = 1_024_000
#: Each job of a task with secrets gets all of them.
MAX_CHARACTERS_PER_USER = 4 * MAX_VALUE_CHARACTERS
#: Secrets become environment variables and file names.
_KEY = re.compile(rf"({FILE_PREFIX})?[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")


class OneSecret(WireBody):
    key: Annotated[str, Field(min_length=1)] | None = None
    value: str | None = Field(None, description="missing: the secret is deleted, or all without a key")


@routes.post("/set_user_secrets")
@open_to(OWN)
@reads(OneSecret)
def set_user_secrets(asked: OneSecret) -> Response:
    """Set a secret of the caller; without a value, forget it; without a key either, forget all."""
    return said(change_secrets(caller().user_name, asked.key, asked.value))


@routes.route("/get_user_secrets", methods=["GET", "POST"])
@open_to(OWN)
def get_user_secrets() -> Response:
    """The caller's secrets, as JSON text of an object; some clients send this query as an empty POST."""
    return succeeded(secrets_text(caller().user_name))


@routes.get("/get_access_token")
@routes.get("/get_proxy")
@routes.get("/get_token_key")
@routes.get("/get_key_pair")
@open_to(PILOT)
def refuse_credentials() -> Response:
    """Refuse what pilots and Harvester fetch to act at a site: whoever runs them there gives them their own."""
    hint = "give pilots their token in PANDA_AUTH_TOKEN, and keys of storages where they run"
    raise NotYet("this server hands out no proxies, tokens and keys", hint=hint)


def change_secrets(user_name: str, key: str | None, value: str | None) -> str:
    """Set a secret, forget it (no value), or forget all (no key either); returns what to tell. Raises `Invalid`."""
    if key is not None:
        return delete_secret(user_name, key) if value is None else set_secret(user_name, key, value)
    if value is not None:
        raise Invalid("the secret", [Fault("key", "missing", "name the secret")])
    return delete_all_secrets(user_name)


def set_secret(user_name: str, key: str, value: str) -> str:
    """Keep a secret; returns what to tell. Raises `Invalid` and `TooLarge`."""
    if not _KEY.fullmatch(key):
        what = f"{key[:80]!r} can be neither a variable nor a file"
        raise Invalid("the secret", [Fault("key", what, "at most 128 letters, digits, '_', '-' and '.'")])
    if key.startswith(FILE_PREFIX) and not _is_base64(value):
        raise Invalid("the secret", [Fault("value", "it is no base64, as a file's must be", "encode the file")])
    if len(value) > MAX_VALUE_CHARACTERS:
        raise TooLarge(f"the secret has {len(value)} characters, more than {MAX_VALUE_CHARACTERS}")
    sealed, now = _box().seal(user_name, key, value), context().now()
    with context().writing() as tx:
        if secrets.others_size(tx, user_name, key) + len(value) > MAX_CHARACTERS_PER_USER:
            raise TooLarge(
                f"your secrets have more than {MAX_CHARACTERS_PER_USER} characters together", hint="delete some first"
            )
        try:
            secrets.put(tx, user_name, key, sealed, size=len(value), now=now)
        except sa.exc.IntegrityError:
            raise Duplicate(f"{key} is being set by another request", hint="set it again") from None
    return "the secret is set"


def delete_secret(user_name: str, key: str) -> str:
    """Forget a secret, or the file of that name where there is none; returns what to tell. Raises `NotFound`."""
    with context().writing() as tx:
        if not (secrets.delete(tx, user_name, key) or secrets.delete(tx, user_name, FILE_PREFIX + key)):
            raise NotFound(f"you have no secret {key[:80]!r}", hint="names are case-sensitive")
    return "the secret is deleted"


def delete_all_secrets(user_name: str) -> str:
    """Forget all secrets of a user; returns what to tell."""
    with context().writing() as tx:
        number = secrets.delete_all(tx, user_name)
    return f"{number} secrets are deleted"


def secrets_text(user_name: str) -> str:
    """A user's secrets as JSON text of an object."""
    box = _box()
    with context().reading() as tx:
        return box.text_of(tx, user_name)


def _box() -> SecretBox:
    found = context().secret_box
    if found is None:
        raise BadState("this server keeps no secrets", hint="its administrator can set [server] secrets_key")
    return found


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except ValueError:
        return False
    return True
