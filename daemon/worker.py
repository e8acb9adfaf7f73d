"""A worker process: runs the chores that the master orders, one at a time, over one engine."""

from __future__ import annotations

import importlib
import logging
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from multiprocessing.connection import Connection
from types import FrameType

import sqlalchemy as sa

from ..core.errors import LeaseLost
from ..core.service import Round, run_round
from ..core.settings import Settings
from ..plugins.manager import Plugins
from ..sql import leases
from ..sql.changes import ChangeWatch
from ..sql.clock import DatabaseClock
from ..sql.engine import open_engine
from ..sql.leases import Lease
from ..sql.service_rounds import RoundNotes
from .chore import Chore
from .context import Context
from .defaults import OUR_PACKAGE
from .errors import Stopping
from .messages import Order, Outcome, Result

log = logging.getLogger(__name__)

#: A chore that runs elsewhere is asked for again no sooner than this.
MIN_WAIT_SECONDS = 0.05
#: However quiet it is, a chore looks for work this often, or at each period that is longer.
LONGEST_REST_SECONDS = 5.0


@dataclass(frozen=True)
class Tools:
    """What all chores of a process work with."""

    engine: sa.Engine
    clock: DatabaseClock
    plugins: Plugins


def open_tools(settings: Settings, database_url: str) -> Tools:
    """The tools of one process; no connection is opened before the first use."""
    database = settings.database
    engine = open_engine(database_url, pool_size=database.pool_size, statement_seconds=database.statement_seconds)
    clock = DatabaseClock(engine)
    return Tools(engine, clock, Plugins(settings, engine, clock))


class Worker:
    """Executes orders. SIGTERM ends it after the transaction at hand; it never outlives its master."""

    def __init__(
        self,
        chores: Mapping[str, Chore],
        settings: Settings,
        database_url: str,
        owner: str,
        inherited: Tools | None = None,
    ) -> None:
        self._inherited = inherited
        self._watches: dict[str, tuple[ChangeWatch, float]] = {}  #: each with when the chore last ran here
        self.chores = chores
        self.settings = settings
        self.database_url = database_url
        self.owner = owner
        self._stopping = False
        self._idle = False
        self._error: Exception | None = None  #: why the run at hand failed

    def serve(self, pipe: Connection) -> None:
        """Answer orders until there are no more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the master decides
        signal.signal(signal.SIGTERM, self._on_sigterm)
        while True:
            self._idle = True
            if self._stopping:
                return
            try:
                order: Order | None = pipe.recv()
            except EOFError:
                return
            self._idle = False
            if order is None:
                return
            pipe.send(self._execute(order))

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        if self._idle:
            raise SystemExit(0)

    def _execute(self, order: Order) -> Outcome:
        chore = self.chores[order.name]
        began_at, self._error = time.monotonic(), None
        outcome = self._run_safely(chore, order)
        if outcome is None:
            return Outcome(chore.name, Result.IDLE)
        if outcome.result is not Result.ELSEWHERE:
            seconds, worked = time.monotonic() - began_at, outcome.result is Result.WORKED
            self._notes.note(Round(chore.name, seconds, chore.period_seconds, worked, self._error))
        return outcome

    def _run_safely(self, chore: Chore, order: Order) -> Outcome | None:
        """Run a chore, unless it may rest; what goes wrong is logged, and kept in `_error`."""
        try:
            if self._may_rest(chore, order):
                return None
            return self._run_synced(chore, order) if chore.sync else self._run(chore, order, None)
        except Stopping:
            return Outcome(chore.name, Result.IDLE)
        except LeaseLost as error:
            log.warning(
                "run ended: its lease was lost", extra={"event": "lease_lost", "chore": chore.name, "why": str(error)}
            )
            return Outcome(chore.name, Result.ELSEWHERE, self.settings.daemon.lease_seconds)
        except Exception as error:  # whatever it is: the worker serves the other chores as well
            self._error = error
            self._watches.pop(chore.name, None)
            log.exception("chore failed", extra={"event": "chore_failed", "chore": chore.name})
            return Outcome(chore.name, Result.FAILED)

    def _run_synced(self, chore: Chore, order: Order) -> Outcome:
        name = f"daemon/{chore.name}"
        period_seconds = 0 if order.continues else chore.period_seconds
        with self.tools.engine.begin() as tx:
            if order.dead_owner:
                leases.forget(tx, name, order.dead_owner)
            now = self.tools.clock()
            held = leases.acquire(tx, name, self.owner, until=self._until(), now=now, period_seconds=period_seconds)
            free_at = leases.free_at(tx, name, period_seconds=period_seconds)
        if held is None:
            wait_seconds = (free_at - now).total_seconds() if free_at else 0
            wait_seconds = min(wait_seconds, max(chore.period_seconds, MIN_WAIT_SECONDS))
            return Outcome(chore.name, Result.ELSEWHERE, max(MIN_WAIT_SECONDS, wait_seconds))
        try:
            return self._run(chore, order, held)
        finally:
            # What is not given back runs out by itself; an error here must not hide the run's own.
            with suppress(sa.exc.SQLAlchemyError), self.tools.engine.begin() as tx:
                leases.release(tx, held)

    def _may_rest(self, chore: Chore, order: Order) -> bool:
        """Whether a run would find nothing: the last one found nothing, and nothing was written since.

        Only chores of ours that come back within seconds rest: those of strangers may look at other things, and what
        falls due by time is at most that much late.
        """
        ours = chore.module.startswith(f"{OUR_PACKAGE}.")
        if not ours or chore.sync or chore.period_seconds >= LONGEST_REST_SECONDS:
            return False
        now = time.monotonic()
        changes, last_run_at = self._watches.get(chore.name) or (ChangeWatch(self.tools.engine), float("-inf"))
        unchanged = changes.unchanged() and not order.continues and order.dead_owner is None
        if unchanged and now - last_run_at < LONGEST_REST_SECONDS:
            return True
        self._watches[chore.name] = (changes, now)
        return False

    def _run(self, chore: Chore, order: Order, held: Lease | None) -> Outcome:
        context = Context(
            engine=self.tools.engine,
            clock=self.tools.clock,
            settings=self.settings,
            plugins=self.tools.plugins,
            guard=self._guard(held),
            after_crash=order.dead_owner is not None,
        )
        service = importlib.import_module(chore.module).build(context, chore.arguments)
        return Outcome(chore.name, Result.WORKED if run_round(service) else Result.IDLE)

    def _guard(self, held: Lease | None) -> Callable[[sa.Connection], None]:
        """What each transaction of a run begins with: to renew the lease in it is what fences it."""

        def guard(tx: sa.Connection) -> None:
            if self._stopping:
                raise Stopping("the daemon stops")
            if held is not None:
                leases.renew(tx, held, until=self._until())

        return guard

    def _until(self) -> datetime:
        """The end of a lease that begins now; each transaction of the run renews it."""
        return self.tools.clock() + timedelta(seconds=self.settings.daemon.lease_seconds)

    @cached_property
    def _notes(self) -> RoundNotes:
        return RoundNotes(self.tools.engine, self.tools.clock, section="daemon")

    @cached_property
    def tools(self) -> Tools:
        return self._inherited or open_tools(self.settings, self.database_url)
