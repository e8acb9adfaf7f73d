"""Edits of global shares that operators try. Nothing is kept of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.errors import Fault, Invalid
from ..core.share_plan import ShareEffect, compare
from ..core.shares import Tree, grow
from ..sql import counts, shares
from .share_table import changed

REMOVE = "remove"


@dataclass(frozen=True)
class ShareTrial:
    """What an edit would do. With work tagged anew, how many tasks and jobs would have other tags."""

    effects: Sequence[ShareEffect]
    notes: Sequence[str]
    n_tasks: int = 0
    n_jobs: int = 0


def read_edits(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`SHARE=VALUE`, `SHARE.KEY=VALUE` with the keys of `bamboo share set`, and `SHARE=remove`, by share.

    Raises `Invalid` with all faults.
    """
    edits: dict[str, dict[str, str]] = {}
    faults = []
    for text in texts:
        what, is_pair, value = text.partition("=")
        name, _, key = what.rpartition(".")
        if not is_pair or not what:
            faults.append(Fault(text, "is no SHARE=VALUE", "such as analysis=50, or data.parent=production"))
            continue
        edits.setdefault(name or key, {})[key if name else "value"] = value
    if faults:
        raise Invalid("the edits", faults)
    return edits


def edited(tree: Tree, edits: Mapping[str, Mapping[str, str]]) -> Tree:
    """The tree with edits made; raises `Invalid` with all faults of all of them."""
    after = dict(tree.shares)
    faults: list[Fault] = []
    for name, values in edits.items():
        if values.get("value") == REMOVE:
            if after.pop(name, None) is None:
                faults.append(Fault(name, "is no share", "`bamboo share list` shows what there is"))
            continue
        try:
            after[name] = changed(after.get(name), name, values, {*tree.shares, *edits})
        except Invalid as error:
            faults += [Fault(f"{name}.{fault.where}", fault.what, fault.do) for fault in error.faults]
    if faults:
        raise Invalid("the edits", faults)
    return grow(after.values())


def try_shares(
    engine: sa.Engine, clock: Clock, edits: Mapping[str, Mapping[str, str]], *, retag: bool = False
) -> ShareTrial:
    """Compare targets and turns with and without edits.

    With `retag` the live work is tagged and counted anew, by the code that does it, in a transaction that is undone.
    """
    now = clock()
    with engine.connect() as tx:
        before = shares.tree(tx)
        after = edited(before, edits)
        notes = [*_new(before, after), *after.notes]
        if not retag:
            return ShareTrial(compare(before, after, shares.usage(tx)), notes)
        counts.replace(tx, now=now)
        usage = shares.usage(tx)
        shares.set_shares(tx, after.shares.values())
        n_tasks = n_jobs = 0
        page: int | None = 0
        while page is not None:
            page, tasks_now, jobs_now = shares.retag(tx, after=page, now=now)
            n_tasks, n_jobs = n_tasks + tasks_now, n_jobs + jobs_now
        counts.replace(tx, now=now)
        usage_after = shares.usage(tx)
        tx.rollback()
    return ShareTrial(compare(before, after, usage, usage_after), notes, n_tasks, n_jobs)


def _new(before: Tree, after: Tree) -> list[str]:
    """Which shares there are not yet: a slip in a name is one."""
    names = [name for name in after.shares if name not in before.shares]
    parents = {name: after.shares[name].parent for name in names}
    return [f"share {name} is new, {f'under {at}' if (at := parents[name]) else 'at the top'}" for name in names]
