"""PanDA's envelope, {"success", "message", "data"}, which every answer below /api/v1/ wears (client protocol 3.4)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flask import Response

from ..core.errors import BambooError, Invalid, NeedsRole

JSON = "application/json"


def succeeded(data: Any = None, message: str = "", **more: Any) -> Response:
    """An answer that says yes."""
    return as_json(success(data, message, **more))


def success(data: Any = None, message: str = "", **more: Any) -> dict[str, Any]:
    """The body of an answer that says yes."""
    return {"success": True, "message": message, "data": data, **more}


def said(text: str) -> Response:
    """An answer that is a sentence: some clients look for it in `message`, others in `data`."""
    return succeeded(text, text)


def refused(error: BambooError, request_id: str, data: Any = None, **more: Any) -> dict[str, Any]:
    """The body of an answer that says no: what happened, why, and what to do next."""
    faults = error.faults if isinstance(error, Invalid | NeedsRole) else ()
    return {
        "success": False,
        "message": str(error),
        "data": data,
        "code": error.code,
        "status": error.status,
        "errors": [{"where": fault.where, "what": fault.what, "do": fault.do} for fault in faults],
        "hint": error.hint,
        "request_id": request_id,
        **more,
    }


def as_json(value: Any, status: int = 200) -> Response:
    """A JSON answer; datetimes travel as {"__datetime__": ISO 8601}."""
    return Response(json_text(value), status=status, mimetype=JSON)


def json_text(value: Any) -> str:
    """The text of a JSON answer."""
    return json.dumps(value, default=_plain, separators=(",", ":"))


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return {"__datetime__": value.isoformat()}
    raise TypeError(f"{type(value).__name__} cannot travel as JSON")
