"""What every agent works with."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.settings import Settings
from ..core.tunables import Numbers
from ..plugins.manager import Plugins
from ..sql.clock import DatabaseClock
from ..sql.engine import open_engine


@dataclass(frozen=True)
class Context:
    """The database, the clock that decides leases, the plugins and the settings of one process."""

    engine: sa.Engine
    clock: Clock
    settings: Settings
    plugins: Plugins

    def numbers(self, vo: str | None = None) -> Numbers:
        """The settings of an organisation in the database, as they are now (manual ch. 10)."""
        return self.plugins.numbers(vo)


def open_context(settings: Settings) -> Context:
    """The context of one process; it opens no connection before the first use."""
    database = settings.database
    engine = open_engine(database.sqlalchemy_url(), pool_size=1, statement_seconds=database.statement_seconds)
    clock = DatabaseClock(engine)
    return Context(engine, clock, settings, Plugins(settings, engine, clock))


def new_owner(name: str) -> str:
    """A name for the holder of leases that no other process ever had."""
    return f"{name}@{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"[:128]
