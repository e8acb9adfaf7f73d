"""The database's clock, which decides all leases, without a query for each look at it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from ..core.clock import utc_now
from .engine import reading

#: After this long the offset is measured again: machines' clocks drift, and administrators set them.
RESYNC_SECONDS = 60.0


class DatabaseClock:
    """Gives the database's time: the offset is measured by a query and carried on by the monotonic clock."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._measured_at = -RESYNC_SECONDS * 2
        self._base = utc_now()

    def __call__(self) -> datetime:
        elapsed = time.monotonic() - self._measured_at
        if elapsed > RESYNC_SECONDS:
            self._measure()
            elapsed = time.monotonic() - self._measured_at
        return self._base + timedelta(seconds=elapsed)

    def _measure(self) -> None:
        if self._engine.dialect.name == "sqlite":
            self._base, self._measured_at = utc_now(), time.monotonic()
            return
        with reading(self._engine) as tx:
            before = time.monotonic()
            told = tx.execute(sa.select(sa.func.current_timestamp())).scalar_one()
        self._measured_at = (before + time.monotonic()) / 2
        self._base = told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
