"""Reading what a request brings: bounded, unpacked, decoded and checked before anything happens with it.

Bodies are recognised by their bytes, not by their headers (pilot protocol 3, client protocol 3.3): pilots send gzip
without saying so, and clients send forms without a Content-Type.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import parse_qs

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ..core import logs
from ..core.errors import BambooError, Fault, Invalid, TooLarge
from ..core.validation import faults_of
from .context import context
from .literals import parse_literal

GZIP_MAGIC = b"\x1f\x8b"
#: Nothing that clients send is nested deeper.
MAX_DEPTH = 64
#: Databases cannot store these, and no terminal should see them.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_FORM = re.compile(rb"[A-Za-z_]\w*=")
#: Arguments by which people look for lines in the log, and the names that they have there.
TOLD_IN_LOG = (
    *(("task_id", "task"), ("job_id", "job"), ("attempt_nr", "attempt"), ("queue", "queue")),
    *(("site", "site"), ("node", "node"), ("harvester_id", "harvester")),
)
#: More fields than any request has.
MAX_FIELDS = 1000


#: What arguments mean that many routes have.
AFTER = "the last one of the page before, by its name or id"
CHANGES = "tried on a copy, such as `memory=2000`"


class Unreadable(BambooError):
    """A body that is not what it should be: no JSON, or broken off."""

    code = "BAM-INPUT-003"
    status = 400


class Query(BaseModel):
    """Arguments of a GET; those we do not know are left, as PanDA does."""

    model_config = ConfigDict(extra="ignore")


class Body(BaseModel):
    """The JSON object of a POST to a route of ours: unknown keys are faults."""

    model_config = ConfigDict(extra="forbid")


class WireBody(BaseModel):
    """The JSON object of a POST to a route of PanDA's, whose senders add keys from release to release."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


Model = TypeVar("Model", bound=BaseModel)


def read_query(model: type[Model]) -> Model:
    """The checked query string; raises `Invalid`.

    A key that is repeated is a list, and the word `None` stands for absent (client protocol 3.3).
    """
    return check(model, _plain(request.args.to_dict(flat=False)))


def read_body(model: type[Model]) -> Model:
    """The checked arguments in the body, null standing for absent: a JSON object or a form.

    Raises `Invalid`, `Unreadable` and `TooLarge`.
    """
    return check_arguments(model, arguments())


def check_arguments(model: type[Model], given: dict[str, Any]) -> Model:
    """The checked arguments, null standing for absent; raises `Invalid`."""
    return check(model, {key: item for key, item in given.items() if item is not None})


def arguments() -> dict[str, Any]:
    """The arguments in the body as they came. Raises `Invalid`, `Unreadable` and `TooLarge`."""
    return arguments_in(request.get_data(cache=False), context().settings.server.max_body_bytes)


def arguments_in(body: bytes, max_bytes: int) -> dict[str, Any]:
    """The arguments in a body that unpacks to so many bytes at most. Raises `Invalid`, `Unreadable`, `TooLarge`."""
    raw = _unpacked(body, max_bytes)
    if _FORM.match(raw):
        return read_form(raw)
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise Invalid("the request", [Fault("body", "no JSON object", "send {…} with the arguments by name")])
    return value


def read_form(raw: bytes) -> dict[str, Any]:
    """The fields of an URL-encoded body; the word `None` stands for absent. Raises `TooLarge`."""
    try:
        fields = parse_qs(raw.decode("latin-1"), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise TooLarge(f"the form has more than {MAX_FIELDS} fields") from None
    return _plain(fields)


def _plain(fields: dict[str, list[str]]) -> dict[str, Any]:
    """Fields without those that are absent, and with their one value where there is one."""
    given = {key: [clean(value) for value in values if value not in ("None", "")] for key, values in fields.items()}
    return {key: values if len(values) > 1 else values[0] for key, values in given.items() if values}


def _structure(value: Any) -> Any:
    """What text stands for that holds JSON, or a Python literal as clients write it into forms and queries."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", "(")):
        return value
    try:
        return parse_json(value)
    except Unreadable:
        return clean(parse_literal(value, MAX_DEPTH))


def _several(value: Any) -> Any:
    """A list, of which clients send one member alone, or members with commas between them, or JSON text."""
    found = _structure(value)
    if isinstance(found, str):
        return [word.strip() for word in found.split(",") if word.strip()]
    return [_structure(item) for item in found] if isinstance(found, list) else [found]


def _words(value: Any) -> Any:
    """The same of texts, which stay as they are whatever they look like."""
    if isinstance(value, list):
        return value
    with suppress(ValueError):
        return _several(value)
    return [value]


def moment(value: Any) -> Any:
    """The moment that a text is, `YYYY-MM-DD` with or without a time of day, in UTC unless it says otherwise."""
    if not isinstance(value, str):
        return value
    found = datetime.fromisoformat(value)
    try:
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("there is no such moment in UTC") from None


#: A moment in UTC.
Moment = Annotated[datetime, BeforeValidator(moment)]
#: An object that may come as text.
Structure = Annotated[dict[str, Any], BeforeValidator(_structure)]
#: For lists that may come as text, or as one value.
SEVERAL = BeforeValidator(_several)
WORDS = BeforeValidator(_words)


def parse_json(text: bytes | str) -> Any:
    """Read JSON that strangers wrote: no NaN, bounded depth, only text that a database can hold.

    Raises `Unreadable` and `TooLarge`.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:  # decoded here: from bytes the reader takes UTF-16 and half characters too, which hide what cannot be stored
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise TooLarge(f"the JSON is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # what the decoders of JSON, UTF-8 and very long numbers raise
        raise Unreadable(f"the body is no JSON: {error}"[:200], hint="send one JSON object, in UTF-8") from None
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise TooLarge(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    return clean(value) if _SUSPICIOUS.search(raw) else value


def clean(value: Any) -> Any:
    """The value with a replacement character for each that cannot be stored, in all its texts."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return value


def check(model: type[Model], given: dict[str, Any]) -> Model:
    """The arguments as the model has them; raises `Invalid` with every fault."""
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        raise Invalid("the request", faults_of(error)) from None
    logs.about(**{word: getattr(checked, key, None) for key, word in TOLD_IN_LOG})
    return checked


def _unpacked(raw: bytes, max_bytes: int) -> bytes:
    if not raw.startswith(GZIP_MAGIC):
        return raw
    stream = zlib.decompressobj(wbits=31)
    try:
        text = stream.decompress(raw, max_bytes + 1)
    except zlib.error as error:
        raise Unreadable(f"the body is broken gzip: {error}") from None
    if len(text) > max_bytes:
        raise TooLarge(f"the body unpacks to more than {max_bytes} bytes")
    if not stream.eof:
        raise Unreadable("the body is gzip that breaks off")
    return text


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
        depth += 1
        if depth > MAX_DEPTH:
            break
    return depth


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_constant(digits[:40])


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")
