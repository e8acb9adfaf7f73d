"""Unified queues stand for one pseudo-queue of each resource type (manual ch. 12.1, step 1).

The manual only says that unified queues are resolved to pseudo-queues. How is our choice: a pseudo-queue has the cores
and the memory of its queue as far as its resource type goes, and a task belongs to the type that holds its cores and
the memory that is expected of it, with the compensation of step 2. Jobs are counted for the whole queue, as all types
share its slots.
"""

from __future__ import annotations

from ...core.gates import Refusal
from .situation import Candidate, Remedy, Situation


def name_of(at: Situation, one: Candidate) -> str:
    """The pseudo-queue that a queue is for the task, such as `AGLT2/MCORE`; empty if it is only itself."""
    return f"{one.name}/{at.kind.resource_name}" if one.is_unified and at.kind is not None else ""


def has_pseudo_queue(at: Situation, one: Candidate) -> Refusal | None:
    """A unified queue has no pseudo-queue of a type that no job in its slots can be of."""
    kind = at.kind
    if kind is None or not one.is_unified:
        return None
    has, most, least = one.view.core_count, one.view.max_rss_mb, one.number("minrss")
    cores = max(one.cores, kind.min_core)
    changes, edits = [], {}
    if 0 < has < kind.min_core:
        edits["corecount"] = kind.min_core
        changes.append(f"corecount of {kind.min_core}: it has {has}")
    if most and most < (up := kind.min_ram_per_core_mb * cores):
        edits["maxrss"] = up
        changes.append(f"maxrss of {up} MB: it has {most}")
    if kind.max_ram_per_core_mb is not None and least > (down := kind.max_ram_per_core_mb * cores):
        edits["minrss"] = down
        changes.append(f"minrss of {down} MB: it has {least:g}")
    if not edits:
        return None
    text = f"{' and '.join(changes)}, for a pseudo-queue of the type {kind.resource_name}"
    return Remedy(text, len(edits), edits=edits)
