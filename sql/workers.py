"""Workers: the batch jobs that pilots run in, as Harvester and the pilots themselves tell of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .engine import skip_locked
from .tables import workers


def tell_pilot_status(
    tx: sa.Connection, harvester_id: str, worker_id: int, *, pilot_status: str, node: str | None, now: datetime
) -> None:
    """Note that the pilot of a worker has started or finished; the worker is entered if nobody has told of it yet."""
    told: dict[str, Any] = {"pilot_status": pilot_status, "modified_at": now}
    if node:
        told["node"] = node
    where = (workers.c.harvester_id == harvester_id, workers.c.worker_id == worker_id)
    if tx.execute(sa.update(workers).where(*where).values(told)).rowcount:
        return
    values = {"harvester_id": harvester_id, "worker_id": worker_id, "status": "running", "attributes": {}}
    tx.execute(sa.insert(workers).values(**values, **told, created_at=now))


def forget(tx: sa.Connection, *, before: datetime, limit: int) -> int:
    """Remove workers of which nobody has spoken since a moment (manual ch. 8.3.1, Harvester); returns how many."""
    keys = (workers.c.harvester_id, workers.c.worker_id)
    old = sa.select(*keys).where(workers.c.modified_at < before).order_by(workers.c.modified_at).limit(limit)
    gone = [tuple(row) for row in tx.execute(skip_locked(old))]
    if gone:
        tx.execute(sa.delete(workers).where(sa.tuple_(*keys).in_(gone)))
    return len(gone)
