"""Plain names for outputs that a user gave as `regex|…` (client protocol 7.6).

PanDA's client leaves such an output without a name of its own: the pattern is sent as the file name too. What JEDI does
not name cannot be declared, checked and registered, so it gets one file for each job, an archive of all matches.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

REGEX = "regex|"
_TABLE = re.compile(r'-o "(?P<table>\{.*\})"', re.DOTALL)
_OPTIONAL = "--allowNoOutput="


def with_plain_names(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Task parameters whose `regex|` outputs have names like the others, `<owner>.$JEDITASKID._${SN/P}.<x>.tgz`.

    The table that tells the transform (`-o`) maps the pattern to that name. Anything odd is left for the checks.
    """
    items = raw.get("jobParameters")
    if not isinstance(items, list | tuple):
        return dict(raw)
    names = {
        item["value"]: _name_of(item, str(raw.get("taskName") or ""))
        for item in items
        if _is_output(item) and str(item.get("value", "")).startswith(REGEX)
    }
    if not names:
        return dict(raw)
    return {**raw, "jobParameters": [_renamed(item, names) for item in items]}


def _is_output(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("param_type") == "output"


def _name_of(item: Mapping[str, Any], task_name: str) -> str:
    """The name: the owner's two fields as in other outputs, and what the dataset's name adds to the task's."""
    dataset = str(item.get("dataset") or "").rstrip("/")
    base = task_name.rstrip("/")
    suffix = dataset.removeprefix(f"{base}_") if dataset.startswith(f"{base}_") else dataset.rpartition(".")[2]
    owner = ".".join(dataset.partition(":")[2].split(".")[:2] if ":" in dataset else dataset.split(".")[:2])
    return f"{owner}.$JEDITASKID._${{SN/P}}.{suffix}.tgz"


def _renamed(item: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(item, Mapping) or not isinstance(item.get("value"), str):
        return item
    value = item["value"]
    if _is_output(item):
        return {**item, "value": names.get(value, value)}
    if value.startswith(_OPTIONAL):
        optional = value.removeprefix(_OPTIONAL).split(",")
        return {**item, "value": _OPTIONAL + ",".join(names.get(name, name) for name in optional)}
    return {**item, "value": _TABLE.sub(lambda found: _with_names(found, names), value)}


def _with_names(found: re.Match[str], names: Mapping[str, str]) -> str:
    try:
        table = ast.literal_eval(found["table"])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return found[0]
    if not isinstance(table, dict):
        return found[0]
    renamed = {local: names.get(lfn, lfn) for local, lfn in table.items()}
    return f'-o "{renamed!r}"'
