"""The lease on a job: how long the pilot may act for it without the server's word."""

from __future__ import annotations

import threading
import time
from typing import Callable

DEFAULT_LEASE_SECONDS = 3600.0


def boot_seconds() -> float:
    """Seconds since boot including suspended time, so that a laptop that slept knows its leases are over."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Counts from the moment the last accepted request was *sent*, so never longer than the server counts.

    Work stops `margin` before the end: the larger of a tenth of the lease and twice the kill grace,
    but at most half the lease. A payload gets the first 40 % of the margin to end by itself.
    """

    def __init__(
        self, seconds: float, kill_grace: float, sent_at: float, clock: Callable[[], float] = boot_seconds
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._kill_grace = kill_grace
        self.seconds = seconds
        self.renewed_at = sent_at

    def renew(self, sent_at: float, seconds: float | None) -> None:
        """Note an accepted request; `seconds` is the new length when the server gave one."""
        with self._lock:
            self.renewed_at = max(self.renewed_at, sent_at)
            if seconds:
                self.seconds = seconds

    @property
    def margin(self) -> float:
        return min(max(0.1 * self.seconds, 2 * self._kill_grace), 0.5 * self.seconds)

    @property
    def stop_at(self) -> float:
        """When work for the job must end unless the lease is renewed first."""
        return self.renewed_at + self.seconds - self.margin

    @property
    def payload_grace(self) -> float:
        """Seconds between TERM and KILL for the payload of a lost lease."""
        return 0.4 * self.margin

    @property
    def kill_at(self) -> float:
        """When nothing of the payload may live any more; the keeper sees to it even without the pilot."""
        return self.stop_at + self.payload_grace

    @property
    def report_until(self) -> float:
        """When even a final report is no longer worth sending."""
        return self.renewed_at + 3 * self.seconds

    def held(self) -> bool:
        """Tell whether work may go on."""
        return self._clock() < self.stop_at
