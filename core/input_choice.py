"""What a task chose of an input dataset, in the words that its user gave (client protocol 7.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What prun and `bamboo run` leave out by themselves, beside what the user leaves out.
NO_LOGS = r"\.log\.tgz(\.\d+)*$"


def name_pattern(pattern: str) -> str:
    """A pattern of --match as the regular expression that prun makes of it: a dot is a dot, a star is anything."""
    return pattern.replace(".", r"\.").replace("*", ".*")


def chosen_words(selection: Mapping[str, Any]) -> str:
    """The choice as the end of a sentence, `match *.txt, are after the first 3`; empty if nothing was chosen."""
    said = []
    for key, verb in (("include", "match"), ("exclude", "do not match")):
        patterns = [_as_given(text) for text in (selection.get(key) or "").split(",") if text and text != NO_LOGS]
        if patterns:
            said.append(f"{verb} {' or '.join(patterns)}")
    if selection.get("offset"):
        said.append(f"are after the first {selection['offset']}")
    rest = {key: value for key, value in selection.items() if value and key not in ("include", "exclude", "offset")}
    if rest:
        said.append("are chosen by " + ", ".join(f"{key} {value}" for key, value in rest.items()))
    return ", ".join(said)


def _as_given(expression: str) -> str:
    """The pattern of --match that became this regular expression; the expression if none did."""
    pattern = expression.replace(r"\.", "\0").replace(".*", "*").replace("\0", ".")
    return pattern if name_pattern(pattern) == expression else expression
