"""Python's way to write a list or a dictionary, which PanDA's clients let slip into forms and queries.

Nothing is run: the text is read as a literal, and only what JSON has too is taken (client protocol 3.3, 6.8).
"""

from __future__ import annotations

import ast
import math
from typing import Any

from ..core.errors import TooLarge

#: Longer ones are refused: reading a literal costs a hundred times what JSON costs.
MAX_CHARACTERS = 100_000


def parse_literal(text: str, max_depth: int) -> Any:
    """The value that a literal stands for, tuples as lists. Raises `ValueError` and `TooLarge`."""
    if len(text) > MAX_CHARACTERS or sum(map(text.count, "[{(")) > MAX_CHARACTERS // 10 or _depth(text) > max_depth:
        raise TooLarge("the text is too long or too deep to be read as a Python literal", hint="send JSON")
    try:
        return _as_json(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("neither JSON nor a Python literal") from None


def _depth(text: str) -> int:
    """How deep the brackets are nested at most; brackets inside texts count too, which only makes it larger."""
    depth = deepest = 0
    for letter in text:
        if letter in "[{(":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]})":
            depth -= 1
    return deepest


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(item) for key, item in value.items()}
    raise ValueError(f"{type(value).__name__} is nothing that JSON has")
