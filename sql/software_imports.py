"""Imports of what queues publish of their software (manual ch. 12.1.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..core.grid_documents import GridKind
from ..core.software_documents import EVERYWHERE
from . import queue_history
from .imports import Import, Swapped, refuse_a_loss
from .tables import queues, software

#: What the history calls a change of the software, and how much of a long list it names: queues have thousands of tags.
WHAT, MOST_NAMED = "software", 20


def swap_software(tx: sa.Connection, documents: Mapping[str, Mapping[str, Any]], how: Import) -> Swapped:
    """Take over the software of queues. What is not in the document is published no more, and its row goes.

    That of queues which are not known here is kept as well: they may be imported later.
    """
    rows = tx.execute(sa.select(software).order_by(software.c.queue).with_for_update())
    before = {row.queue: row.document for row in rows}
    vanished = sorted(set(before) - set(documents))
    refuse_a_loss(GridKind.SOFTWARE, vanished, len(before), how)
    known = {*tx.scalars(sa.select(queues.c.queue)), EVERYWHERE}
    done = Swapped(vanished=vanished, unknown=sorted(set(documents) - known))
    done.added = sorted(set(documents) - set(before))
    done.changed = sorted(name for name in set(before) & set(documents) if before[name] != documents[name])
    if gone := [*vanished, *done.changed]:
        tx.execute(sa.delete(software).where(software.c.queue == sa.bindparam("gone")), [{"gone": one} for one in gone])
    if new := [*done.added, *done.changed]:
        values = [{"queue": name, "document": dict(documents[name]), "modified_at": how.now} for name in new]
        tx.execute(sa.insert(software), values)
    changes = {name: _changed_items(before.get(name, {}), documents.get(name, {})) for name in sorted({*gone, *new})}
    source = how.sources.get(GridKind.SOFTWARE)
    entries = [
        queue_history.entry(name, WHAT, change, actor=how.actor, now=how.now, source=source)
        for name, change in changes.items()
    ]
    queue_history.record(tx, entries)
    return done


def _changed_items(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """In which items two documents of a queue differ: those of the first by key, and those of the second."""
    gone: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    for key in sorted({*before, *after}):
        was, now = _items(before.get(key)), _items(after.get(key))
        for told, mine, others in ((gone, was, now), (new, now, was)):
            if names := [mine[item] for item in mine if item not in others]:
                told[f"{WHAT}.{key}"] = _few(names)
    return gone, new


def _items(value: Any) -> dict[str, str]:
    """The items of a value, each as text with its name."""
    listed: Sequence[Any] = value if isinstance(value, list) else [] if value is None else [value]
    return {json.dumps(item, sort_keys=True): next(_names(item)) for item in listed}


def _names(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        yield from (str(item[key]) for key in ("tag", "container_name") if item.get(key))
    yield item if isinstance(item, str) else json.dumps(item, sort_keys=True)


def _few(names: Sequence[str]) -> list[str]:
    more = len(names) - MOST_NAMED
    return [*names[:MOST_NAMED], f"and {more} more"] if more > 0 else list(names)
