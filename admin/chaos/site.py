"""The loss of a site: all pilots die, and those that come after them take jobs of which they never hear."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ...core.states import JobState
from .private import PrivateSystem
from .proxy import Weather
from .victims import of_kind

#: How long it is waited for jobs to be there, and then for pilots to take them.
LONGEST_WAIT_SECONDS = 20.0


@dataclass
class SiteLoss:
    """One loss, which waits for its moment: it begins when there are jobs to be taken, and is over when one was.

    A claim of which no pilot ever speaks is rare when pilots are killed at random, for it is spoken of at once.
    """

    system: PrivateSystem
    jobs: Callable[[], Mapping[str, int]]  #: how many there are, by state
    on_kill: Callable[[], None]
    _has_begun: bool = False
    _until: float = 0.0

    def go_on(self) -> bool:
        """Take the next step if its moment has come; returns whether all is over."""
        self._until = self._until or time.monotonic() + LONGEST_WAIT_SECONDS
        wanted = JobState.SENT if self._has_begun else JobState.ACTIVATED
        if not self.jobs().get(wanted) and time.monotonic() < self._until:
            return False
        if self._has_begun:
            self.end()
            return True
        self._kill_pilots()
        self.system.pilots.change(Weather.REPLIES_LOST)
        self._has_begun, self._until = True, 0.0
        return False

    def end(self) -> None:
        """Kill the pilots that came after, and let answers through again."""
        self._kill_pilots()
        self.system.pilots.change(Weather.FAIR)

    def _kill_pilots(self) -> None:
        for pilot in of_kind(self.system.pid, "pilot"):
            with suppress(ProcessLookupError):
                os.kill(pilot.pid, signal.SIGKILL)
                self.on_kill()
