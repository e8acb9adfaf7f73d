"""What brokers say of queues, counted by the process that asks them and entered once a minute."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

from ..core.plain_text import storable
from ..plugins.contracts import Choice
from ..sql import queue_verdicts
from .context import Context

#: What a process has counted is entered this often; what one counts that dies is lost.
ENTER_SECONDS = 60.0
#: Reasons are words of plugins, of which there may be any number: beyond so many of queues and reasons none is added.
MOST = 20_000
LONGEST_NAME = 128


class Verdicts:
    """The counts of one process since it last entered them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._n: Counter[tuple[str, str]] = Counter()
        self._last: dict[tuple[str, str], tuple[int, datetime]] = {}
        self._enter_at = time.monotonic()  # the first at once: a small system has few

    def add(self, choice: Choice, jeditaskid: int) -> None:
        """Count for a task what was said of each queue."""
        now = self._context.clock()
        said = [(queue, "") for queue in choice.chosen]
        said += [(queue, gate) for gate, queues in choice.rejected.items() for queue in queues]
        for key in ((storable(queue, LONGEST_NAME), storable(gate, LONGEST_NAME)) for queue, gate in said):
            if key in self._n or len(self._n) < MOST:
                self._n[key] += 1
                self._last[key] = (jeditaskid, now)

    def enter(self) -> None:
        """Enter what was counted, if it is time."""
        if not self._n or time.monotonic() < self._enter_at:
            return
        self._enter_at = time.monotonic() + ENTER_SECONDS
        rows = []
        for (queue, gate), n in self._n.items():
            jeditaskid, last_at = self._last[queue, gate]
            at = queue_verdicts.hour_of(last_at)
            key = {"queue": queue, "at": at, "gate": gate}
            rows.append({**key, "n": n, "jeditaskid": jeditaskid, "last_at": last_at})
        with self._context.engine.begin() as tx:
            queue_verdicts.add(tx, rows)
        self._n.clear()
        self._last.clear()
