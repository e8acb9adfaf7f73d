"""The family of a task as a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Relative:
    """A task, and its children."""

    task: Mapping[str, Any]
    children: list[Relative] = field(default_factory=list)


def tree(family: Sequence[Mapping[str, Any]]) -> list[Relative]:
    """Tasks below their parents; those whose parents are not among them come first. A circle is left out."""
    all_of = {one["jeditaskid"]: Relative(one) for one in family}
    roots = []
    for number, one in all_of.items():
        parent = all_of.get(one.task["parent_tid"])
        if parent is None or parent.task["jeditaskid"] == number:
            roots.append(one)
        else:
            parent.children.append(one)
    return roots
