"""Numbers of things in texts for people."""

from __future__ import annotations


def count_text(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
