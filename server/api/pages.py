"""/livez and /readyz: for whoever starts and watches this process."""

from __future__ import annotations

import os

import sqlalchemy as sa
from flask import Blueprint, Response

from ...sql import migrate
from ..auth.access import NOBODY, open_to
from ..context import context
from ..envelope import as_json
from ..errors import RETRY_AFTER_SECONDS

routes = Blueprint("pages", __name__)

LIVE = {"status": "alive"}


@routes.get("/livez")
@open_to(NOBODY)
def livez() -> Response:
    """This process runs."""
    return as_json(LIVE)


@routes.get("/readyz")
@open_to(NOBODY)
def readyz() -> Response:
    """Whether this process can work; if not, 503 and what is missing."""
    problems = [*_database_problems(), *_cache_problems()]
    answer = as_json({"status": "not ready" if problems else "ready", "problems": problems}, 503 if problems else 200)
    if problems:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def _database_problems() -> list[str]:
    try:
        return migrate.check(context().engine)
    except sa.exc.SQLAlchemyError as error:
        return [f"the database cannot be reached: {type(error).__name__}"]


def _cache_problems() -> list[str]:
    directory = context().settings.server.cache_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return [f"the cache directory cannot be made: {error.strerror}"]
    return [] if os.access(directory, os.W_OK | os.X_OK) else [f"the cache directory {directory} cannot be written to"]
