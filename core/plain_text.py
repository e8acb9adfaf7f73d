"""Text of others, such as plugins and errors, as databases take it."""

from __future__ import annotations


def storable(text: str, longest: int) -> str:
    """A text of at most so many characters without what no database keeps: NUL, and halves of surrogate pairs."""
    return text[:longest].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
