"""Queues, sites and storages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.counting import count_text
from ..core.errors import BadState, Fault, Invalid, NotFound
from ..core.nearby import guess
from ..core.queue_keys import key_faults, name_fault, slips
from . import counts, queue_history, tasks
from .audit import Things
from .queue_values import COLUMN_OF_KEY, Layers, differences
from .tables import queues, resource_types, sites, storages

_MAY_BE_NULL = ("vo", "storage")


def get_queue(tx: sa.Connection, queue: str) -> sa.Row[Any]:
    """One queue; raises `NotFound`."""
    row = tx.execute(sa.select(queues).where(queues.c.queue == queue)).first()
    if row is None:
        raise NotFound(f"there is no queue {queue}", hint="`bamboo queue list` shows what there is")
    return row


def is_known(tx: sa.Connection, queue: str) -> bool:
    """Whether there is such a queue."""
    return tx.execute(sa.select(queues.c.queue).where(queues.c.queue == queue)).first() is not None


def list_queues(tx: sa.Connection) -> list[sa.Row[Any]]:
    """All queues by name."""
    return list(tx.execute(sa.select(queues).order_by(queues.c.queue)))


def names(tx: sa.Connection) -> frozenset[str]:
    """The queues that there are."""
    return frozenset(tx.scalars(sa.select(queues.c.queue)))


def list_storages(tx: sa.Connection) -> list[sa.Row[Any]]:
    """All storages by name."""
    return list(tx.execute(sa.select(storages).order_by(storages.c.storage)))


def list_resource_types(tx: sa.Connection) -> list[sa.Row[Any]]:
    """All resource types by name."""
    return list(tx.execute(sa.select(resource_types).order_by(resource_types.c.resource_name)))


def set_queue(
    tx: sa.Connection,
    queue: str,
    attributes: dict[str, Any],
    *,
    now: datetime,
    actor: str = "bamboo",
    unset: Sequence[str] = (),
) -> bool:
    """Enter a queue or set some of its attributes by hand, named as in PanDA's queue document; raises `Invalid`.

    Returns whether it is new. Tasks for which no queue was found are looked at again at once.

    What is set by hand wins over what is imported (`queue_values`) until it is given back: `unset` names such keys.
    """
    known = tx.execute(locked_queues().where(queues.c.queue == queue)).first()
    layers = Layers.of_row(known) if known else Layers(queue, None, {})
    _check(queue, attributes, unset, layers, _storage_names(tx))
    kept = {key: value for key, value in layers.overrides.items() if key not in unset}
    after = replace(layers, overrides={**kept, **attributes})
    values = {**after.columns(), "overrides": after.overrides, "modified_at": now}
    ensure_site(tx, values["site"])
    if known is None:
        tx.execute(sa.insert(queues).values(queue=queue, **values))
    else:
        tx.execute(sa.update(queues).where(queues.c.queue == queue).values(values))
    changed = differences(layers.plain() if known else {}, after.plain())
    if changed != ({}, {}):
        what = ("released" if unset and not attributes else "set") if known else "entered"
        queue_history.record(tx, [queue_history.entry(queue, what, changed, actor=actor, now=now)])
        tasks.wake(tx, now=now)
    return known is None


def locked_queues() -> sa.Select[Any]:
    """Queues that are to be changed, locked till the end of the transaction; jobs may still name them."""
    return sa.select(queues).order_by(queues.c.queue).with_for_update(key_share=True)


def _storage_names(tx: sa.Connection) -> frozenset[str]:
    return frozenset(tx.scalars(sa.select(storages.c.storage)))


def unknown_storages(tx: sa.Connection) -> list[tuple[str, str]]:
    """Queues whose storage nobody has entered: [(queue, storage)], none where no storage is entered at all."""
    known = _storage_names(tx)
    named = sa.select(queues.c.queue, queues.c.storage).where(queues.c.storage.is_not(None)).order_by(queues.c.queue)
    return [(queue, storage) for queue, storage in tx.execute(named) if storage not in known] if known else []


def remove_queue(tx: sa.Connection, queue: str, *, now: datetime, actor: str) -> None:
    """Remove a queue that has no jobs and is in no imported document; raises `NotFound` or `BadState`.

    Its history stays.
    """
    row = tx.execute(locked_queues().where(queues.c.queue == queue)).first()
    if row is None:
        raise NotFound(f"there is no queue {queue}", hint="`bamboo queue list` shows what there is")
    if n_jobs := sum(counts.by_queue_now(tx, queue).get(queue, {}).values()):
        hint = f"`bamboo queue set {queue} status=offline`, and remove it when they are over"
        raise BadState(f"queue {queue} has {count_text(n_jobs, 'job')}", hint=hint)
    if row.imported is not None and row.vanished_at is None:
        hint = "it would come back with the next import: take it out there, or set it offline"
        raise BadState(f"queue {queue} is in the documents that are imported", hint=hint)
    tx.execute(sa.delete(queues).where(queues.c.queue == queue))
    changed = differences(Layers.of_row(row).plain(), {})
    queue_history.record(tx, [queue_history.entry(queue, "removed", changed, actor=actor, now=now)])


def _check(
    queue: str, attributes: dict[str, Any], unset: Sequence[str], layers: Layers, storage_names: frozenset[str]
) -> None:
    given = {key: value for key, value in attributes.items() if not (value is None and key in _MAY_BE_NULL)}
    faults = key_faults(given)
    faults += [fault for fault in [name_fault(queue, "queue")] if fault]
    there = {**(layers.imported or {}), **layers.overrides}
    faults += [
        Fault(key, "there is no such key", f"did you mean {near!r}?")
        for key, near in slips(attributes).items()
        if key not in there  # what an import has brought is no slip
    ]
    named = given.get("storage")
    if storage_names and isinstance(named, str) and named not in storage_names:
        faults.append(Fault("storage", f"there is no storage {named}", guess(named, storage_names)))
    for key in unset:
        if key not in layers.overrides:
            by_hand = ", ".join(sorted(layers.overrides)) or "nothing is"
            faults.append(Fault(key, "it was not set by hand", f"set by hand: {by_hand}"))
        elif key in attributes:
            faults.append(Fault(key, "it is to be set and to be given back", "choose one"))
    if faults:
        raise Invalid(f"queue {queue}", faults)


def ensure_site(tx: sa.Connection, site: str) -> None:
    """Enter a site if it is not there."""
    if tx.execute(sa.select(sites.c.site).where(sites.c.site == site)).first() is None:
        tx.execute(sa.insert(sites).values(site=site, attributes={}))


def set_storage(tx: sa.Connection, storage: str, *, site: str, endpoint: str, path: str) -> None:
    """Enter a storage by hand or change where it is. Imports leave it alone from then on.

    What an import has said of its addresses is dropped: it would contradict the new one.
    """
    ensure_site(tx, site)
    path = path if path.endswith("/") else path + "/"
    values: dict[str, Any] = {"site": site, "endpoint": endpoint, "path": path, "imported": False}
    known = tx.execute(sa.select(storages).where(storages.c.storage == storage).with_for_update(key_share=True)).first()
    if known and known.imported:
        values["attributes"] = {}
    if tx.execute(sa.update(storages).where(storages.c.storage == storage).values(values)).rowcount == 0:
        tx.execute(sa.insert(storages).values(storage=storage, attributes={}, **values))


def storage_things(tx: sa.Connection) -> Things:
    """The storages as they are, to record how they change."""
    keys = ("site", "endpoint", "path", "attributes", "imported")
    return {("storage", row.storage): {key: getattr(row, key) for key in keys} for row in list_storages(tx)}


def queue_document(queue: sa.Row[Any]) -> dict[str, Any]:
    """A queue as pilots and Harvester read it (panda-pilot.md 4.1)."""
    storage = queue.storage
    activities = ("read_lan", "write_lan", "pr", "pw", "pl")
    document: dict[str, Any] = {
        "nickname": queue.queue,
        "panda_resource": queue.queue,
        "atlas_site": queue.site,
        "gstat": queue.site,
        "copytools": {"mv": {"setup": ""}},
        "acopytools": {activity: ["mv"] for activity in ("default", *activities)},
        "astorages": {activity: [storage] for activity in activities} if storage else {},
        "catchall": "mv_final_destination",
        "container_type": "",
        "is_cvmfs": False,
        "allow_lan": True,
        "allow_wan": False,
        "direct_access_lan": False,
        "direct_access_wan": False,
        "environ": "",
        "appdir": "",
        "params": {},
    }
    document.update({key: getattr(queue, column) for key, column in COLUMN_OF_KEY.items() if key != "storage"})
    document.update(queue.attributes)
    return document


def storage_document(storage: sa.Row[Any]) -> dict[str, Any]:
    """A storage as pilots read it (panda-pilot.md 4.2)."""
    protocol = {"endpoint": storage.endpoint, "path": storage.path, "flavour": "FILE", "id": 1}
    activities = ("read_lan", "read_wan", "write_lan", "write_wan", "delete_lan")
    return {
        "id": 1,
        "name": storage.storage,
        "site": storage.site,
        "state": storage.state,
        "type": storage.type,
        "token": storage.type,
        "is_deterministic": True,
        "arprotocols": {activity: [protocol] for activity in activities},
        "rprotocols": {"1": protocol},
        "resource": {"id": 1},
        **storage.attributes,
    }
