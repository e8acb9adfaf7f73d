"""Styles and scripts: a few small files, packed once in each process, that browsers keep until the version changes."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from flask import Response, request

from ...core.errors import NotFound
from ..auth.access import NOBODY, open_to
from ..declared import ANYTHING, answers_with
from .show import routes

FOLDER = Path(__file__).parent.parent / "static"
FILES = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.suffix in (".js", ".css")}
YEAR_SECONDS = 365 * 86400


@cache
def _packed(name: str) -> tuple[bytes, bytes, str]:
    """The bytes of a file, the same packed, and what names this version of it."""
    raw = FILES[name].read_bytes()
    return raw, gzip.compress(raw, mtime=0), hashlib.sha256(raw).hexdigest()[:12]


def asset(name: str) -> str:
    """The address of a style or script, which changes when it does."""
    return f"/static/{name}?v={_packed(name)[2]}"


@routes.get("/static/<path:name>")
@open_to(NOBODY)
@answers_with(ANYTHING)
def static_file(name: str) -> Response:
    """A style or script."""
    if name not in FILES:
        raise NotFound(f"there is no file {name[:100]}")
    raw, packed, version = _packed(name)
    response = Response(raw, mimetype=mimetypes.guess_type(name)[0])
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response = Response(packed, mimetype=response.mimetype, headers={"Content-Encoding": "gzip"})
    response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    response.headers["Vary"] = "Accept-Encoding"
    response.set_etag(version)
    return response


@routes.app_context_processor
def _for_templates() -> dict[str, object]:
    return {"asset": asset}
