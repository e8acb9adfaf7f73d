"""The plugins of the server: the same as the Job Generator's, if both read the same configuration."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ...core.clock import Clock
from ...core.settings import Settings

if TYPE_CHECKING:
    from ...plugins.manager import Plugins


class Asker:
    """Loads the plugins when somebody asks for the first time: most processes never need them."""

    def __init__(self, settings: Settings, engine: sa.Engine, clock: Clock) -> None:
        self._made_of = (settings, engine, clock)
        self._lock = Lock()
        self._plugins: Plugins | None = None

    def __call__(self) -> Plugins:
        """The plugins; raises `BadSettings` when some cannot be loaded."""
        from ...plugins.manager import Plugins

        with self._lock:
            if self._plugins is None:
                self._plugins = Plugins(*self._made_of)
            return self._plugins
