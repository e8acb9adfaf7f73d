"""/auth/: how a VO's clients get their tokens, a file for each VO (manual ch. 7.6.3, client protocol 4.3)."""

from __future__ import annotations

import json
from pathlib import Path

from flask import Blueprint, Response

from ...core.errors import NotFound, Unavailable
from ..auth.access import NOBODY, open_to
from ..context import context
from ..envelope import as_json

routes = Blueprint("auth", __name__)

#: What clients read. Anything else in the files stays here.
SHOWN = ("audience", "client_id", "client_secret", "oidc_config_url", "vo", "jwt_profile")
SUFFIX = "_auth_config.json"


@routes.get("/auth/<vo>_auth_config.json")
@open_to(NOBODY)
def auth_config(vo: str) -> Response:
    """The OIDC client of a VO. Its `client_secret` is known to all its clients, and no secret."""
    folder = context().settings.server.auth_config
    files = {path.name: path for path in Path(folder).glob(f"*{SUFFIX}")} if folder else {}
    path = files.get(f"{vo}{SUFFIX}")
    if path is None:
        raise NotFound(f"VO {vo[:64]!r} has no login here", hint="use a token that you have (PANDA_AUTH_ID_TOKEN)")
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise Unavailable(f"the login of VO {vo[:64]!r} is not configured rightly", hint="tell the administrator")
    return as_json({key: config[key] for key in SHOWN if key in config})
