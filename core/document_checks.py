"""Checks that documents about the grid share (`core.grid_documents`): each adds what it finds to a list of faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import Fault
from .queue_keys import LONGEST_NAME, SHORT, Kind


def objects(document: Any, kind: str, faults: list[Fault]) -> dict[str, dict[str, Any]]:
    """{name: object}, as all of CRIC's documents but the matrix are."""
    if not isinstance(document, dict):
        what = f"it is a {type(document).__name__}, and no object of {kind} by name"
        faults.append(Fault(f"{kind}", what, 'such as {"NAME": {…}}'))
        return {}
    if set(document) == {"error"} or ("error" in document and not isinstance(document["error"], dict)):
        faults.append(Fault(f"{kind}", f"the source says: {document['error']!s:.200}", "try again later"))
        return {}
    for name, inside in document.items():
        if not isinstance(inside, dict):
            faults.append(Fault(f"{kind} {name}", f"it is a {type(inside).__name__}, and no object", "give {…}"))
    return {name: inside for name, inside in document.items() if isinstance(inside, dict)}


def name_faults(kind: str, name: str) -> list[Fault]:
    """What is wrong with the name of something."""
    if 0 < len(name) <= LONGEST_NAME:
        return []
    return [Fault(f"{kind} {name[:80]!r}", f"its name has not 1 to {LONGEST_NAME} letters", "give it another")]


def short_faults(where: str, document: dict[str, Any], keys: Sequence[str]) -> list[Fault]:
    """Those of the keys that are no short words."""
    return [fault for key in keys for fault in kind_faults(f"{where}.{key}", document.get(key), SHORT)]


def kind_faults(where: str, value: Any, kind: Kind) -> list[Fault]:
    """What is wrong with a value that has to be of a kind; null counts as not given."""
    if value is None or kind.holds(value):
        return []
    return [Fault(where, f"{value!r:.80} is no {kind.says}", kind.do)]
