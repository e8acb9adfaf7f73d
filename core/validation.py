"""From pydantic's errors to our faults, and guesses at misspelt words."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from . import nearby
from .errors import Fault

#: How much of a wrong value is shown.
SHOWN_CHARACTERS = 80


def faults_of(error: ValidationError, prefix: str = "") -> list[Fault]:
    """Every fault that pydantic found, with its place written as a path: `prefix.items[3].value`."""
    return [
        Fault(path(prefix, detail["loc"]), detail["msg"].removeprefix("Value error, "), _given(detail["input"]))
        for detail in error.errors(include_url=False, include_context=False)
    ]


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
    if isinstance(value, dict | list):
        return ""
    text = repr(value)
    return f"given: {text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + '…'}"
