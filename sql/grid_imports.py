"""Imports of documents about the grid: checked ones take the place of the last ones.

Nothing is deleted, because jobs and storages refer to it: a queue that is not in the new document becomes `offline`, a
site or storage `DISABLED`, and all come back when the document has them again. What was set by hand stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.grid_documents import Grid, GridKind, storage_address
from . import grid_sources, queue_history, tasks
from .imports import Import, Swapped, refuse_a_loss
from .link_imports import swap_closeness, swap_network
from .queue_values import Layers, differences
from .queues import locked_queues
from .software_imports import swap_software
from .tables import queues, sites, storages

#: The attribute of a storage that says why nothing may be written to it.
BLACKLIST_KEY = "blacklisted"
#: Activities of the blacklist that are no writing.
_NO_WRITING = ("r", "d", "read_wan", "read_lan", "delete_wan", "delete_lan")


def swap(tx: sa.Connection, grid: Grid, how: Import) -> dict[GridKind, Swapped]:
    """Take over documents, sites before what lies at them; raises `BadState` when one has lost too much.

    All or nothing: the caller must roll back if this raises.
    """
    steps: Sequence[tuple[GridKind, Any, Callable[..., Swapped]]] = (
        (GridKind.SITES, grid.sites, _swap_sites),
        (GridKind.STORAGES, grid.storages, _swap_storages),
        (GridKind.BLACKLIST, grid.blacklist, _swap_blacklist),
        (GridKind.QUEUES, grid.queues, _swap_queues),
        (GridKind.SOFTWARE, grid.software, swap_software),
        (GridKind.CLOSENESS, grid.closeness, swap_closeness),
        (GridKind.NETWORK, grid.network, swap_network),
    )
    done = {}
    for kind, document, step in steps:
        if document is None:
            continue
        grid_sources.lock(tx, kind)
        done[kind] = step(tx, document, how)
        done[kind].n_entries = len(document)
        source = how.sources.get(kind, "")
        grid_sources.succeeded(tx, kind, source=source, n_entries=len(document), now=how.now)
    return done


def exported(tx: sa.Connection) -> dict[str, dict[str, Any]]:
    """The imported queues that have not vanished, as their documents came, under what was set by hand."""
    imported = queues.c.imported.is_not(None), queues.c.vanished_at.is_(None)
    rows = tx.execute(sa.select(queues).where(*imported).order_by(queues.c.queue))
    return {row.queue: {**row.imported, **(row.overrides or {})} for row in rows}


def _swap_queues(tx: sa.Connection, documents: Mapping[str, Mapping[str, Any]], how: Import) -> Swapped:
    rows = {row.queue: row for row in tx.execute(locked_queues())}
    present = [name for name, row in rows.items() if row.imported is not None and row.vanished_at is None]
    vanished = [name for name in present if name not in documents]
    refuse_a_loss(GridKind.QUEUES, vanished, len(present), how)
    done = Swapped(vanished=vanished)
    lists = {"entered": done.added, "came back": done.came_back, "imported": done.changed}
    entries: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    old: list[dict[str, Any]] = []
    for name in (*sorted(documents), *vanished):
        row = rows.get(name)
        before = Layers.of_row(row) if row else Layers(name, None, {})
        gone = name not in documents
        after = replace(before, imported=before.imported if gone else dict(documents[name]), vanished=gone)
        what = _step(before, after, known=row is not None)
        changed = differences(before.plain() if row else {}, after.plain())
        if after == before and row is not None and row.overrides is not None:
            continue
        (new if row is None else old).append(_queue_row(after, how.now))
        if changed != ({}, {}):
            source = how.sources.get(GridKind.QUEUES)
            entries.append(queue_history.entry(name, what, changed, actor=how.actor, now=how.now, source=source))
            lists.get(what, []).append(name)
    _ensure_sites(tx, {row["site"] for row in (*new, *old)})
    if new:
        tx.execute(sa.insert(queues), new)
    _update_all(tx, queues, "queue", old)
    queue_history.record(tx, entries)
    if entries:
        tasks.wake(tx, now=how.now)
    return done


def _queue_row(layers: Layers, now: datetime) -> dict[str, Any]:
    return {
        "queue": layers.queue,
        **layers.columns(),
        "imported": layers.imported,
        "overrides": layers.overrides,
        "vanished_at": now if layers.vanished else None,
        "modified_at": now,
    }


def _step(before: Layers, after: Layers, *, known: bool) -> str:
    """What the history calls a change."""
    if not known:
        return "entered"
    if after.vanished:
        return "vanished"
    return "came back" if before.vanished else "imported"


def _swap_sites(tx: sa.Connection, documents: Mapping[str, Mapping[str, Any]], how: Import) -> Swapped:
    rows = {
        row.site: row for row in tx.execute(sa.select(sites).order_by(sites.c.site).with_for_update(key_share=True))
    }

    def _values(name: str) -> dict[str, Any]:
        document = documents[name]
        state = document.get("state") or "ACTIVE"
        return {"cloud": document.get("cloud"), "state": state, "attributes": dict(document)}

    return _swap_named(tx, sites, "site", rows, documents, _values, GridKind.SITES, how)


def _swap_storages(tx: sa.Connection, documents: Mapping[str, Mapping[str, Any]], how: Import) -> Swapped:
    statement = sa.select(storages).order_by(storages.c.storage).with_for_update(key_share=True)
    rows = {row.storage: row for row in tx.execute(statement)}
    by_hand = sorted(name for name, row in rows.items() if not row.imported and name in documents)
    theirs = {name: document for name, document in documents.items() if name not in by_hand}
    _ensure_sites(tx, {str(document["site"]) for document in theirs.values()})

    def _values(name: str) -> dict[str, Any]:
        document = theirs[name]
        endpoint, path = storage_address(document)
        state, kind = document.get("state") or "ACTIVE", document.get("type") or "DATADISK"
        place = {"site": document["site"], "endpoint": endpoint, "path": path}
        listed = rows[name].attributes.get(BLACKLIST_KEY) if name in rows else None
        attributes = {**document, **({BLACKLIST_KEY: listed} if listed else {})}
        return {**place, "state": state, "type": kind, "attributes": attributes}

    done = _swap_named(tx, storages, "storage", rows, theirs, _values, GridKind.STORAGES, how)
    done.kept = by_hand
    return done


def _swap_named(
    tx: sa.Connection,
    table: sa.Table,
    key: str,
    rows: Mapping[str, sa.Row[Any]],
    documents: Mapping[str, Any],
    values: Callable[[str], dict[str, Any]],
    kind: GridKind,
    how: Import,
) -> Swapped:
    """Enter or change the rows of a table that has `imported` and `state`, and disable those that vanished."""
    present = [name for name, row in rows.items() if row.imported and row.state != "DISABLED"]
    vanished = [name for name in present if name not in documents]
    refuse_a_loss(kind, vanished, len(present), how)
    done = Swapped(vanished=vanished)
    new, old = [], [{key: name, "state": "DISABLED"} for name in vanished]
    for name in sorted(documents):
        row, wanted = rows.get(name), {**values(name), "imported": True}
        if row is None:
            new.append({key: name, **wanted})
            done.added.append(name)
        elif any(getattr(row, column) != value for column, value in wanted.items()):
            old.append({key: name, **wanted})
            done.changed.append(name)
    if new:
        tx.execute(sa.insert(table), new)
    _update_all(tx, table, key, old)
    return done


def _swap_blacklist(tx: sa.Connection, listed: Mapping[str, Mapping[str, str]], how: Import) -> Swapped:
    """Note at each storage why nothing may be written to it; other activities than writing change nothing here."""
    names = (storages.c.storage, storages.c.attributes)
    rows = tx.execute(sa.select(*names).order_by(storages.c.storage).with_for_update(key_share=True)).all()
    done = Swapped(unknown=sorted(set(listed) - {row.storage for row in rows}))
    changed = []
    for row in rows:
        reasons = {key: why for key, why in listed.get(row.storage, {}).items() if key not in _NO_WRITING}
        after = "; ".join(f"{activity}: {why}" for activity, why in sorted(reasons.items()))
        before = row.attributes.get(BLACKLIST_KEY)
        if (after or None) != before:
            rest = {key: value for key, value in row.attributes.items() if key != BLACKLIST_KEY}
            changed.append(
                {"storage": row.storage, "attributes": {**rest, **({BLACKLIST_KEY: after} if after else {})}}
            )
            (done.added if not before else done.changed if after else done.came_back).append(row.storage)
    _update_all(tx, storages, "storage", changed)
    return done


def _ensure_sites(tx: sa.Connection, names: Iterable[str]) -> None:
    known = set(tx.scalars(sa.select(sites.c.site)))
    missing = sorted(set(names) - known)
    if missing:
        tx.execute(sa.insert(sites), [{"site": name, "attributes": {}} for name in missing])


def _update_all(tx: sa.Connection, table: sa.Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Update rows by their key; those with the same columns go in one statement."""
    by_columns: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_columns.setdefault(tuple(sorted(row)), []).append(row)
    for alike in by_columns.values():
        columns: dict[str, Any] = {column: sa.bindparam(f"new_{column}") for column in alike[0] if column != key}
        statement = sa.update(table).where(table.c[key] == sa.bindparam("of_key")).values(columns)
        tx.execute(statement, [{"of_key": r[key], **{f"new_{c}": v for c, v in r.items() if c != key}} for r in alike])
