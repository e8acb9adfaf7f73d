"""What a chore works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.settings import Settings
from ..core.tunables import Numbers
from ..plugins.manager import Plugins
from ..sql.engine import reading


def unguarded(tx: sa.Connection) -> None:
    """The guard of a chore that any number of processes may run."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The database, the clock, the settings and the plugins of one run of a chore.

    A chore writes only in transactions from `begin()`. The guard runs first in each of them and raises when the run
    must end: because the daemon stops, or because the chore's lease has passed to another machine.
    """

    engine: sa.Engine
    clock: Clock
    settings: Settings
    plugins: Plugins
    guard: Callable[[sa.Connection], None] = unguarded
    after_crash: bool = False  #: the process that ran this chore before has died over it

    def numbers(self, vo: str | None = None) -> Numbers:
        """The settings of an organisation in the database, as they are now (manual ch. 10)."""
        return self.plugins.numbers(vo)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A write transaction under the guard; it commits at the end of the block."""
        with self.engine.begin() as tx:
            self.guard(tx)
            yield tx

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        with reading(self.engine) as tx:
            yield tx
