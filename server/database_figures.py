"""What the database says of all parts of the system, looked at now and then for whoever asks for figures."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.errors import Unavailable
from ..sql import counts, leases, task_queries
from ..sql.engine import reading

#: The database is not asked more often by one process, however many ask that one.
FRESH_SECONDS = 5.0


@dataclass(frozen=True)
class InDatabase:
    """Figures of the whole system; none but `is_up` when the database does not answer."""

    is_up: bool = False
    jobs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: by queue and state
    tasks: Mapping[str, int] = field(default_factory=dict)  #: by state
    works: tuple[leases.Work, ...] = ()


class DatabaseFigures:
    """Asks the database, and keeps for a moment what it said."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = -math.inf
        self._seen = InDatabase()

    def lately(self) -> InDatabase:
        """What the database says, or said a moment ago."""
        with self._lock:
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._seen = self._ask()
                self._asked_at = time.monotonic()
            return self._seen

    def _ask(self) -> InDatabase:
        try:
            now = self._clock()
            with reading(self._engine) as tx:
                jobs, _ = counts.lately(tx, now=now)
                return InDatabase(True, jobs, task_queries.counts_by_status(tx), tuple(leases.works(tx, now=now)))
        except (sa.exc.SQLAlchemyError, Unavailable):
            return InDatabase()
