"""Making strangers' text and plain numbers fit for a terminal."""

from __future__ import annotations

import unicodedata

from ..core.counting import count_text

__all__ = ["bytes_text", "count_text", "duration_text", "printable"]


def printable(text: object, *, lines: bool = False) -> str:
    """`text` without anything a terminal would obey: control codes, and marks that reorder what is shown.

    With `lines`, line breaks and tabs stay; otherwise they become single spaces.
    """
    shown = []
    for char in str(text):
        if char in "\n\t":
            shown.append(char if lines else " ")
        elif unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown.append(char)
    return "".join(shown)


def bytes_text(size_bytes: float) -> str:
    """A size for humans, such as `1.4 GB` (powers of ten)."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} PB"


def duration_text(seconds: float) -> str:
    """A duration for humans, such as `45 s`, `12 min`, `3 h 20 min` or `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
