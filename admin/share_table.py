"""Global shares as administrators see and change them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from ..core.errors import Fault, Invalid
from ..core.patterns import ATTRIBUTES
from ..core.shares import UNDEFINED, Share, Standing, Tree, Usage, entitlements, stand, targets
from ..core.validation import guess
from ..sql import shares

_NUMBERS = {"value": float, "match_order": int}
_KEYS = ("parent", *_NUMBERS, *ATTRIBUTES)


def standing_rows(tx: sa.Connection) -> list[dict[str, Any]]:
    """The leaves and `Undefined`, the one whose turn it is first; amounts are cores."""
    tree = shares.tree(tx)
    if not tree.shares:
        return []
    percents = entitlements(tree, 100)
    return [_row(tree, one, 0, percents) for one in stand(tree, shares.usage(tx))]


def tree_rows(tx: sa.Connection) -> list[dict[str, Any]]:
    """Every share under its parent, and `Undefined` at the end; amounts are cores, of inner shares those below them."""
    tree = shares.tree(tx)
    if not tree.shares:
        return []
    used = shares.usage(tx)
    slots = sum(usage.running for usage in used.values()) + 1  # as `stand` divides them
    percents = entitlements(tree, 100)
    leaves = {leaf: used.get(leaf, Usage()) for leaf in tree.leaves}
    given = targets(tree, slots, {name: usage.running + usage.queued for name, usage in leaves.items()})
    sums = dict.fromkeys(tree.shares, Usage())
    for leaf, usage in leaves.items():
        for share in tree.path(leaf):
            sums[share.name] += usage
    rows = []
    waiting = [(name, 0) for name in reversed(tree.children[None])]
    while waiting:
        name, level = waiting.pop()
        standing = Standing(name, given[name], sums[name].running, sums[name].queued)
        rows.append(_row(tree, standing, level, percents))
        waiting += [(child, level + 1) for child in reversed(tree.children.get(name, ()))]
    rest = next(one for one in stand(tree, used) if one.share == UNDEFINED)
    return [*rows, _row(tree, rest, 0, percents)]


def _row(tree: Tree, one: Standing, level: int, percents: Mapping[str, float]) -> dict[str, Any]:
    share = tree.shares.get(one.share, Share(one.share, None, 0))
    return {
        "share": one.share,
        "parent": share.parent,
        "level": level,
        "value": share.value,
        "percent": percents.get(one.share, 0.0),
        "target": one.target,
        "running": one.running,
        "queued": one.queued,
        "distance": one.distance if math.isfinite(one.distance) else None,
        "patterns": dict(share.patterns),
    }


def changed(share: Share | None, name: str, changes: Mapping[str, str], known: Collection[str]) -> Share:
    """A share with some attributes changed, given as text; raises `Invalid` with all faults. `known` are all shares."""
    faults = [Fault(key, "is no attribute of a share", guess(key, _KEYS)) for key in changes if key not in _KEYS]
    if share is None and "value" not in changes:
        faults.append(Fault("value", "missing", "a new share needs one, such as value=60"))
    if (parent := changes.get("parent")) and parent not in known:
        faults.append(Fault("parent", f"{parent!r} is no share", guess(parent, known)))
    numbers: dict[str, Any] = {}
    for key, kind in _NUMBERS.items():
        if key in changes:
            try:
                numbers[key] = kind(changes[key])
            except ValueError:
                faults.append(Fault(key, f"{changes[key]!r} is no {kind.__name__}", "such as 60"))
    if faults:
        raise Invalid(f"share {name}", faults)
    old = share or Share(name, None, 0)
    patterns = {**old.patterns, **{key: changes[key] for key in ATTRIBUTES if key in changes}}
    return Share(
        name,
        (changes["parent"] or None) if "parent" in changes else old.parent,
        numbers.get("value", old.value),
        numbers.get("match_order", old.match_order),
        {key: pattern for key, pattern in patterns.items() if pattern},
    )
