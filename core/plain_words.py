"""Values of all kinds as people read them, and texts without the numbers in which two of them differ."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Numbers that say what happened, as `exit code 65`, and all others, which say to whom.
_NUMBER = re.compile(r"\b((?:code|signal|status|errno|error|HTTP)\s+\d+)|\d+", re.IGNORECASE)


def in_words(value: object) -> str:
    """`memory: 3 of 4, site: A`, and not as Python writes it: names and values, lists, yes and no."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {in_words(one)}" for key, one in value.items()) or "none"
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [f"({in_words(one)})" if isinstance(one, Mapping) else in_words(one) for one in value]
        return ", ".join(parts) or "none"
    return str(value)


def without_numbers(text: str) -> str:
    """What is the same in texts that differ only by numbers of jobs, names and sizes; numbers of errors stay."""
    return _NUMBER.sub(lambda match: match[1] or "0", text)
