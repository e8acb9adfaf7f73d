"""Regular expressions that rows of the database give for attributes of tasks, checked and matched in one way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from .errors import Fault
from .validation import guess

#: What global shares and work queues may look at (manual ch. 14.2: the most common attributes of tasks and jobs).
ATTRIBUTES = ("prod_source_label", "working_group", "campaign", "processing_type", "vo")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def fits(patterns: Mapping[str, str], work: Mapping[str, str | None]) -> bool:
    """Whether every expression matches the whole of its attribute. An attribute that is not there is an empty text."""
    return all(_compiled(pattern).fullmatch(work.get(name) or "") for name, pattern in patterns.items())


def bad_patterns(where: str, patterns: Mapping[str, str], known: Collection[str] = ATTRIBUTES) -> Iterable[Fault]:
    """What is wrong with expressions."""
    for name, pattern in patterns.items():
        if name not in known:
            yield Fault(f"{where}, {name}", "is no attribute that can be matched", guess(name, known))
            continue
        try:
            _compiled(pattern)
        except re.error as error:
            yield Fault(f"{where}, {name}", f"{pattern!r} is no regular expression: {error}", "correct it")
