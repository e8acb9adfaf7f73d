"""The last rounds of agents and chores, so that people see who is at work, who is late and who fails."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.plain_text import storable
from ..core.service import Round
from . import bulk
from .error_words import in_words
from .tables import service_rounds

log = logging.getLogger(__name__)

#: A service that finds nothing to do says so this often: it must not wake the others, which rest while nobody writes.
IDLE_SECONDS = 60.0
#: One that has work says so this often.
BUSY_SECONDS = 5.0
#: Rounds are left out for so long while nobody writes, however short the period.
REST_SECONDS = 5.0
#: After failures the next round may be so much later.
FAILED_SECONDS = 60.0
#: A service that fails so often in a row will not recover by itself.
FAILS_OFTEN = 3
LONGEST_ERROR = 1000
LONGEST_NAME = 64


@dataclass
class _Told:
    at: float = -math.inf  #: monotonic
    failures: int = 0
    is_failing: bool = False


class RoundNotes:
    """Enters the rounds of the services of one process, now and then: at once when one begins to fail or works again.

    For one thread. A round never fails because it could not be entered.
    """

    def __init__(self, engine: sa.Engine, clock: Clock, *, section: str, place: int = 1) -> None:
        """`section` is the part of the system that the services are of, such as `jedi`; `place` tells processes of one
        service on one machine apart."""
        self._engine = engine
        self._clock = clock
        self._section = section
        self._host = socket.gethostname()[:120] + (f" ({place})" if place > 1 else "")
        self._told: dict[str, _Told] = {}

    def note(self, last: Round) -> None:
        """Note a round that has just ended."""
        last = replace(last, service=f"{self._section}/{last.service}"[:LONGEST_NAME])
        told = self._told.setdefault(last.service, _Told())
        told.failures = told.failures + 1 if last.error else 0
        now, pause = time.monotonic(), BUSY_SECONDS if last.worked else IDLE_SECONDS
        if told.is_failing == (last.error is not None) and now - told.at < pause:
            return
        told.at, told.is_failing = now, last.error is not None
        try:
            moment = self._clock()
            with self._engine.begin() as tx:
                enter(tx, last, self._host, failures=told.failures, now=moment)
        except Exception as error:  # noqa: BLE001 - whatever it is: the service has its own work to do
            extra = {"event": "round_not_entered", "service": last.service, "why": repr(error)}
            log.debug("a round was not entered", extra=extra)


def enter(tx: sa.Connection, last: Round, host: str, *, failures: int, now: datetime) -> None:
    """Enter a round that ended now, in place of the last one of its service on its machine."""
    values: dict[str, Any] = {
        "began_at": now - timedelta(seconds=last.seconds),
        "seconds": last.seconds,
        "period_seconds": last.period_seconds,
        "failures": failures,
        "error": storable(in_words(last.error), LONGEST_ERROR) if last.error else None,
        "told_at": now,
        **({"worked_at": now} if last.worked else {}),
    }
    mine = (service_rounds.c.service == last.service, service_rounds.c.host == host)
    if tx.execute(sa.update(service_rounds).where(*mine).values(values)).rowcount == 0:
        bulk.insert_new(tx, service_rounds, ("service", "host"), [{"service": last.service, "host": host, **values}])


def last_rounds(tx: sa.Connection, *, limit: int = 1000) -> Sequence[sa.Row[Any]]:
    """The last round of each service on each machine, by name; those that told theirs last, if there are too many."""
    newest = sa.select(service_rounds).order_by(service_rounds.c.told_at.desc()).limit(limit)
    return sorted(tx.execute(newest), key=lambda row: (row.service, row.host))


def newest(rows: Sequence[sa.Row[Any]]) -> dict[str, sa.Row[Any]]:
    """Of each service the round that was told last, wherever: {service: row}, by name."""
    found = {row.service: row for row in sorted(rows, key=lambda row: row.told_at)}
    return dict(sorted(found.items()))


def unwell(rows: Sequence[sa.Row[Any]], now: datetime) -> list[str]:
    """The services that are silent everywhere, or whose last rounds failed where one was told last."""
    return [name for name, row in newest(rows).items() if lag(row, now) or row.failures >= FAILS_OFTEN]


def lag(row: Any, now: datetime) -> timedelta:
    """How much later than usual a service is with a word of its next round; zero for one that is in time.

    Its round may take as long as the last one took once more. The first round that ends after `IDLE_SECONDS` is told,
    which is a period later at the worst.
    """
    usual = IDLE_SECONDS + max(row.period_seconds, REST_SECONDS) + row.seconds
    if row.failures:
        usual += FAILED_SECONDS
    late: timedelta = now - row.told_at - timedelta(seconds=usual)
    return max(timedelta(0), late)


def forget(tx: sa.Connection, *, before: datetime) -> int:
    """Forget machines on which a service was last heard of before a moment; returns how many rows."""
    return tx.execute(sa.delete(service_rounds).where(service_rounds.c.told_at < before)).rowcount
