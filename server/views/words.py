"""Figures, moments and states as pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from flask import request

from ...core.plain_words import in_words

__all__ = ["address", "ago", "clock", "duration", "figure", "in_words", "moment", "part", "path", "size", "with_query"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def moment(value: datetime | None) -> str:
    """`2026-01-31 12:00:05`, in UTC as everything here; empty for none."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else ""


def clock(value: datetime | None) -> str:
    """`01-31 12:00`."""
    return value.strftime("%m-%d %H:%M") if value else ""


def duration(seconds: float | timedelta | None) -> str:
    """`3 d 4 h`, `2 h 5 min`, `17 s`: its two largest units."""
    if seconds is None:
        return ""
    left = int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    sign, left = ("-", -left) if left < 0 else ("", left)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        n, left = divmod(left, length)
        if n:
            parts.append(f"{n} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return sign + (" ".join(parts) or "0 s")


def brief(seconds: float | None) -> str:
    """A short time: `40 ms`, `2.5 s`, and from a minute on like others."""
    if seconds is None or seconds >= 60:
        return duration(seconds)
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"


def ago(value: datetime | None, now: datetime) -> str:
    """How long ago a moment was."""
    return f"{duration(now - value)} ago" if value else ""


def figure(value: float | None) -> str:
    """`12 345`, `0.37`: figures with narrow blanks between thousands."""
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}".replace(",", "\u202f")
    return f"{int(value):,}".replace(",", "\u202f")


def size(n_bytes: float | None) -> str:
    """`1.5 GB`."""
    if n_bytes is None:
        return ""
    value = float(n_bytes)
    for unit in _UNITS[:-1]:
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"


def memory(n_kb: float | None) -> str:
    """Memory as the kernel counts it, in the MB of 1024 kB in which tasks ask for it; empty for 0."""
    return size(n_kb / 1024 * 1e6) if n_kb else ""


def part(some: float, whole: float) -> str:
    """`37 %`; never 0 % of something, nor 100 % of less than all."""
    if not whole:
        return "-"
    percent = 100 * some / whole
    if 0 < percent < 1:
        return "< 1 %"
    if 99 < percent < 100:
        return "> 99 %"
    return f"{percent:.0f} %"


def path(*parts: object) -> str:
    """The address of a thing: each part made safe."""
    return "/" + "/".join(quote(str(one), safe="") for one in parts) + "/"


def address(place: str, **query: Any) -> str:
    """A list narrowed down: parameters without a value are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{place}?{urlencode(given)}" if given else place


def with_query(**changes: Any) -> str:
    """The address of this page with other parameters; None takes one away."""
    query: Mapping[str, Any] = {**request.args.to_dict(), **changes}
    return address(request.path, **query)
