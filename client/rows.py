"""Reading the server's rows into dataclasses: each field says which key it comes from and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..core.plain_words import in_words

T = TypeVar("T")


def text(value: object) -> str:
    """Text; what is absent is empty."""
    return "" if value is None else str(value)


_OF_CHOICES = ("chosen", "passed", "rejected", "weights", "pseudo_queues")


def reasons(value: object) -> str:
    """The reasons of a decision in words: what was chosen, and what was passed over, why and how often.

    The server sends {chosen: [...], rejected: {reason: {count, example, change}}, weights: {name: weight},
    pseudo_queues: {name: name}}, or any names and values.
    """
    if not isinstance(value, Mapping):
        return text(value)
    said = [f"{key}: {in_words(item)}" for key, item in value.items() if key not in _OF_CHOICES]
    if value.get("chosen"):
        weights, pseudo = value.get("weights") or {}, value.get("pseudo_queues") or {}
        best = [
            str(pseudo.get(name, name)) + (f" (weight {weights[name]})" if name in weights else "")
            for name in value["chosen"]
        ]
        said.insert(0, f"chosen: {', '.join(best)}")
    for reason, entry in dict(value.get("rejected") or {}).items():
        change = f" (to pass: {entry['change']})" if entry.get("change") else ""
        said.append(f"{reason}: {entry.get('count')} passed over, such as {entry.get('example')}{change}")
    return "; ".join(said)


def integer(value: object) -> int:
    """A whole number that may come as text; what is absent or not a number counts as 0."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return 0


def real(value: object) -> float:
    """A number that may come as text; what is absent or not a number counts as 0."""
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def moment(value: object) -> datetime | None:
    """An aware datetime; plain ISO text without a zone is UTC, as everywhere in PanDA."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def counts(value: object) -> dict[str, int]:
    """{status: how many}, as in the `jobs` of a task or a queue."""
    return {str(key): integer(number) for key, number in value.items()} if isinstance(value, Mapping) else {}


def words(value: object) -> tuple[str, ...]:
    """A list of texts; anything else is none."""
    return tuple(str(word) for word in value) if isinstance(value, (list, tuple)) else ()


def adler32_text(value: object) -> str:
    """Eight lower-case hex digits, from PanDA's `ad:…` or without that prefix."""
    digits = text(value).removeprefix("ad:").lower()
    return digits.rjust(8, "0") if digits else ""


def rows_of(kind: type[T]) -> Callable[[object], tuple[T, ...]]:
    """A reader for a list of nested rows."""

    def read_rows(value: object) -> tuple[T, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return ()
        return tuple(read(kind, row) for row in value if isinstance(row, Mapping))

    return read_rows


def of(keys: str, reader: Callable[[object], Any] = text) -> dict[str, Any]:
    """Metadata for a field that is read from the first of the space-separated `keys` that the row has."""
    return {"keys": keys.split(), "reader": reader}


def read(kind: type[T], row: Mapping[str, Any]) -> T:
    """Build a dataclass whose fields were declared with `of`; a field named `row` keeps the row itself."""
    values: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        if each.name == "row":
            values["row"] = row
            continue
        value = next((row[key] for key in each.metadata["keys"] if row.get(key) is not None), None)
        values[each.name] = each.metadata["reader"](value)
    return kind(**values)
