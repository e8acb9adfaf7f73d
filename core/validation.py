"""From pydantic's errors to our faults, and guesses at misspelt words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from . import nearby
from .errors import Fault

#: How much of a wrong value is shown.
SHOWN_CHARACTERS = 80
_WHOLE = ("is no whole number", "give one, such as 4")
_NUMBER = ("is no number", "give one, such as 4.5")
_TEXT = ("is no text", "put it in quotes")
_TRUTH = ("is neither true nor false", "give true or false")
_LIST = ("is no list", "put it in brackets")
_OBJECT = ("is no object", "give keys and values in braces")
#: What is said and advised instead of pydantic's words, by its types of errors; its limits fill the braces.
_TOLD = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    **dict.fromkeys(("list_type", "tuple_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _OBJECT),
    "string_type": _TEXT,
    "greater_than": ("is too small", "give more than {gt}"),
    "greater_than_equal": ("is too small", "give at least {ge}"),
    "less_than": ("is too large", "give less than {lt}"),
    "less_than_equal": ("is too large", "give at most {le}"),
    "string_too_short": ("is too short", "give at least {min_length} characters"),
    "string_too_long": ("is too long", "give at most {max_length} characters"),
    "too_long": ("is too long", "give at most {max_length} items"),
    "literal_error": ("is no choice", "give {expected}"),
    "string_pattern_mismatch": ("has the wrong form", "it has to match {pattern}"),
}


def faults_of(error: ValidationError, prefix: str = "", model: type[BaseModel] | None = None) -> list[Fault]:
    """Every fault that pydantic found, with its place written as a path: `prefix.items[3].value`.

    Where `model` is given, its descriptions of fields say what to put there.
    """
    return [_fault(detail, prefix, model) for detail in error.errors(include_url=False)]


def _fault(detail: ErrorDetails, prefix: str, model: type[BaseModel] | None) -> Fault:
    where, limits = path(prefix, detail["loc"]), detail.get("ctx") or {}
    meaning, keys = _known(model, detail["loc"])
    if detail["type"] == "extra_forbidden":
        return Fault(where, "no such key", guess(str(detail["loc"][-1])[:80], keys))
    if detail["type"] == "missing":
        return Fault(where, "missing", f"add it: {meaning}" if meaning else "add it, it is needed")
    told = _TOLD.get(detail["type"])
    if told is None:
        return Fault(where, detail["msg"].removeprefix("Value error, "), _given(detail["input"]))
    what, do = (text.format(**limits) for text in told)
    return Fault(where, f"{_shown(detail['input'])} {what}", f"{do}: {meaning}" if meaning else do)


def _known(model: type[BaseModel] | None, places: Sequence[int | str]) -> tuple[str, list[str]]:
    """What the field at a place is for, in the words of its description, and which keys there are beside it."""
    meaning, keys = "", list[str]()
    for place in (place for place in places if isinstance(place, str)):
        fields = (
            {str(field.validation_alias or name): field for name, field in model.model_fields.items()} if model else {}
        )
        meaning, keys = "", list(fields)
        if place in fields:
            meaning, model = fields[place].description or "", _model_in(fields[place].annotation)
    return meaning, keys


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model of what a field holds: itself, one of several, or the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def path(prefix: str, places: Iterable[int | str]) -> str:
    """`a`, (`b`, 3, `c`) as `a.b[3].c`."""
    text = prefix
    for place in places:
        text += f"[{place}]" if isinstance(place, int) else f".{place}" if text else place
    return text or "body"


def guess(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the nearest one that is known, if there is any."""
    return nearby.guess(word, known, "leave it out")


def _given(value: object) -> str:
    return "" if isinstance(value, dict | list) else f"given: {_shown(value)}"


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
