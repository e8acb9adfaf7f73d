"""What somebody may have meant who wrote a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def guess(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A hint for a fault: the nearest of the known words; when none is near, `otherwise`, or all of them."""
    words = sorted(known)
    by_lower = {each.lower(): each for each in words}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_lower[near[0]]!r}?"
    return f"known: {', '.join(words)}" if otherwise is None else otherwise
