"""The shapes of answers in the old style: text, JSON arrays, pickles, and what pilots read (client protocol 3.5, 12.3).

We write pickles, for clients that read nothing else; we never read one. Old clients evaluate text that is no JSON as
Python: every text of ours that is not one of their own words begins with `ERROR :`, which is none, and repeats nothing
that came from outside unless it stands in JSON or a pickle.
"""

from __future__ import annotations

import json
import pickle  # written, never read
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Response, request

from ...core.errors import BadState, BambooError, Duplicate, NotAllowed, NotFound, Stale
from ..envelope import as_json
from ..pilot_orders import KILL, NOTHING

#: Has a pilot ask for work again; 10 is its code for a server that had no time (pilot protocol 3).
ASK_AGAIN = {"StatusCode": 10, "errorDialog": "the server or its database does not answer: ask again"}
#: Readable by every Python, and text.
PICKLE_PROTOCOL = 0


@dataclass(frozen=True)
class Shape:
    """How a method says yes with a value, and no with an error."""

    yes: Callable[[Any], Response]
    no: Callable[[BambooError], Response]


def text(words: str, status: int = 200) -> Response:
    """A plain text."""
    return Response(words, status=status, mimetype="text/plain")


def failed(error: BambooError, status: int = 200) -> Response:
    """An error as text, in one line."""
    words = "".join(letter if letter.isprintable() else " " for letter in error.message)
    return text(f"ERROR : {words[:300]}", status)


def pickled(value: Any) -> Response:
    """A pickle, or JSON for those who ask for it."""
    if "application/json" in request.headers.get("Accept", ""):
        return as_json(value)
    # Datetimes as text, so that a reader needs nothing but the plain types.
    plain = json.loads(json.dumps(value, default=_plain))
    body = pickle.dumps(tuple(plain) if isinstance(value, tuple) else plain, protocol=PICKLE_PROTOCOL)
    return Response(body, mimetype="text/plain")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    raise TypeError(f"{type(value).__name__} cannot travel")


def number_of(error: BambooError, forbidden: int) -> int:
    """PanDA's code of a refusal (client protocol 6.4)."""
    numbers = ((NotFound, 2), (Duplicate, 2), (NotAllowed, forbidden), (BadState, 4))
    return next((number for kind, number in numbers if isinstance(error, kind)), 1)


def _status_code(error: BambooError) -> int:
    """The number of a refusal for pilots (pilot protocol 3): no permission, or failed."""
    return 70 if isinstance(error, NotAllowed) else 30


def _no_pilot(error: BambooError) -> Response:
    command = KILL if isinstance(error, Stale) else NOTHING
    return as_json({"StatusCode": _status_code(error), "command": command, "errorDialog": str(error)[:300]})


def turned_away(error: BambooError) -> Response:
    """The answer to a pilot whose token is no good. Its status keeps an update from passing for accepted."""
    return as_json({"StatusCode": 50, "command": NOTHING, "errorDialog": str(error)[:300]}, 403)


#: Plain text: `True`, `NOTFOUND`.
TEXT = Shape(lambda value: text(str(value)), failed)
#: JSON `[true, value]`.
ARRAY = Shape(lambda value: as_json([True, value]), lambda error: as_json([False, str(error)]))
#: JSON of the value alone.
VALUE = Shape(as_json, lambda error: failed(error, error.status))
#: A pickle of the value alone.
PICKLE = Shape(pickled, lambda error: failed(error, error.status))
#: A pickle of (whether it was taken, what to tell).
TAKEN = Shape(lambda told: pickled((True, told)), lambda error: pickled((False, str(error))))
#: A pickle of (code, what to tell); the value is such a pair.
CODED = Shape(pickled, lambda error: pickled((number_of(error, 3), str(error))))
#: The same where 3 means accepted.
CODED_3 = Shape(pickled, lambda error: pickled((number_of(error, 1), str(error))))
#: What pilots read: always JSON, always with `StatusCode`, never a null.
PILOT = Shape(lambda value: as_json({"StatusCode": 0, **value}), _no_pilot)
