"""Evidence about failures as the server tells it: what failed jobs have in common, and two jobs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import JobInfo, Row
from .rows import integer, of, real, rows_of, text
from .text import bytes_text, count_text, duration_text

#: So many names of a list are shown.
NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ContrastInfo:
    """A value (a node, a file, an hour…) that failed jobs have far more often than finished ones; `says` tells it."""

    attribute: str = field(metadata=of("attribute"))
    value: str = field(metadata=of("value"))
    failed: int = field(metadata=of("nFailed", integer))
    finished: int = field(metadata=of("nFinished", integer))
    of_failures: float = field(metadata=of("ofFailures", real))
    of_successes: float = field(metadata=of("ofSuccesses", real))
    chance: float = field(metadata=of("chance", real))
    says: str = field(metadata=of("says"))
    row: Row = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class ComparedLine:
    """One thing of two jobs, as it is in the first and in the second."""

    part: str = field(metadata=of("part"))
    name: str = field(metadata=of("name"))
    differs: bool = field(metadata=of("differs", bool))
    unit: str = field(metadata=of("unit"))
    row: Row = field(default_factory=dict, compare=False, repr=False)

    @property
    def a(self) -> str:
        """What the first job has, for people; empty for nothing."""
        return value_text(self.row.get("a"), self.unit)

    @property
    def b(self) -> str:
        """What the second job has, for people; empty for nothing."""
        return value_text(self.row.get("b"), self.unit)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two jobs side by side; `chosen` says why the server chose the second one, if it did."""

    jobs: tuple[JobInfo, ...] = field(metadata=of("jobs", rows_of(JobInfo)))
    chosen: str = field(metadata=of("chosen"))
    lines: tuple[ComparedLine, ...] = field(metadata=of("lines", rows_of(ComparedLine)))
    row: Row = field(default_factory=dict, compare=False, repr=False)

    def _repr_html_(self) -> str:
        from .notebook import comparison_html

        return comparison_html(self)

    @property
    def differences(self) -> tuple[ComparedLine, ...]:
        """What is not the same."""
        return tuple(line for line in self.lines if line.differs)

    @property
    def stdout_tails(self) -> tuple[str, str]:
        """The last output of each; empty where there is none, or where it is not for us."""
        a, b = (*(self.row.get("stdoutTails") or ()), None, None)[:2]
        return text(a), text(b)


def value_text(value: Any, unit: str = "") -> str:
    """A value with its unit as people read it; a long list by its first names and how many more there are."""
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        more = f" and {count_text(len(value) - NAMES_SHOWN, 'other')}" if len(value) > NAMES_SHOWN else ""
        return ", ".join(map(str, value[:NAMES_SHOWN])) + more
    if isinstance(value, (int, float)):
        if unit in ("B", "kB"):
            return bytes_text(value * (1024 if unit == "kB" else 1))
        if unit == "s":
            return duration_text(value)
        value = f"{value:.6g}" if isinstance(value, float) else value
    return f"{value} {unit}".rstrip()
