"""How values read, and which texts are alike."""

from __future__ import annotations

from typing import Any

import pytest

from bamboo.core.plain_words import in_words, without_numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ramCount differs": "ask for 2001", "n": 3}, "ramCount differs: ask for 2001, n: 3"),
        ({"a": {"b": None, "c": True}}, "a: b: none, c: yes"),
        (["x", {"gate": "memory", "in": 2}], "x, (gate: memory, in: 2)"),
        ([], "none"),
        (0.1 + 0.2, "0.3"),
        ("text", "text"),
    ],
)
def test_values_read_as_words(value: Any, expected: str) -> None:
    assert in_words(value) == expected


@pytest.mark.parametrize(
    ("one", "other", "are_alike"),
    [
        ("no file user.a.7._000001.o.txt", "no file user.a.7._000002.o.txt", True),
        ("used 2013 MB", "used 1999 MB", True),
        ("payload ended with exit code 3", "payload ended with exit code 4", False),
        ("HTTP 404 of host1", "HTTP 503 of host1", False),
    ],
)
def test_texts_that_differ_by_numbers_are_alike(one: str, other: str, are_alike: bool) -> None:
    assert (without_numbers(one) == without_numbers(other)) is are_alike
