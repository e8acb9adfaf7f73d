"""How long tests wait for what must come: a busy machine is no fault, and what passes never waits that long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

PATIENCE_SECONDS = 300


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until `condition()` gives something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def until_somebody_waits(engine: sa.Engine) -> None:
    """Wait until a transaction in this PostgreSQL database waits for another one."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def _waits() -> int:
        with engine.connect() as tx:
            return int(tx.scalar(sa.text(waiting)) or 0)

    eventually(_waits, "somebody who waits for a lock", seconds=30)
