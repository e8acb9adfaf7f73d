"""The loss of a site: pilots take jobs of which they never hear, and die."""

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

#: How long it is waited for jobs to be taken.
LONGEST_WAIT_SECONDS = 20.0
#: After this long, jobs that were taken before answers got lost are spoken of.
SPOKEN_SECONDS = 0.3


@dataclass
class SiteLoss:
    """One loss, which waits for its moment: it is over when a job was taken.

    A claim of which no pilot ever speaks is rare when pilots are killed at random, for it is spoken of at once.
    """

    system: PrivateSystem
    jobs: Callable[[], Mapping[str, int]]  #: how many there are, by state
    on_kill: Callable[[], None]
    _began: float = 0.0

    def go_on(self) -> bool:
        """Take the next step if its moment has come; returns whether all is over."""
        now = time.monotonic()
        self._began = self._began or now
        self.system.pilots.change(Weather.WORK_LOST)  # others may have changed it meanwhile
        is_taken = now > self._began + SPOKEN_SECONDS and self.jobs().get(JobState.SENT)
        if not is_taken and now < self._began + LONGEST_WAIT_SECONDS:
            return False
        self.end()
        return True

    def end(self) -> None:
        """Kill all pilots, and let answers through again."""
        for pilot in of_kind(self.system.pid, "pilot"):
            with suppress(ProcessLookupError):
                os.kill(pilot.pid, signal.SIGKILL)
                self.on_kill()
        self.system.pilots.change(Weather.FAIR)
