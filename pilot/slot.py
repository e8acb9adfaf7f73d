"""What the components share: this pilot's place on the machine, and whether it is stopping."""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from . import PILOT_VERSION
from .errors import Code
from .job import Job
from .lease import boot_seconds
from .payload_process import PayloadKeeper
from .queue_data import QueueData, Storages
from .server_calls import ServerCalls


@dataclass(frozen=True)
class Stop:
    """The order to end: why, with which exit code when it interrupts a job, and until when."""

    code: Code
    diag: str
    exit_code: int


@dataclass
class Slot:
    """One pilot's surroundings. `stopping` is set once; everything else is fixed at the start."""

    options: argparse.Namespace
    home: Path
    queue: QueueData
    storages: Storages
    server: ServerCalls
    keeper: PayloadKeeper
    setup_seconds: float = 0.0
    clock: Callable[[], float] = boot_seconds
    born_at: float = field(default_factory=boot_seconds)
    stopping: threading.Event = field(default_factory=threading.Event)
    stop: Stop | None = None
    stop_until: float = float("inf")
    job: Job | None = None

    @property
    def pilot_log(self) -> Path:
        return self.home / "pilot.log"

    @property
    def payload_grace(self) -> float:
        """Seconds between TERM and KILL for a payload; the rest of the grace is for log and report."""
        return 0.4 * float(self.options.kill_grace)

    @property
    def elapsed(self) -> float:
        return self.clock() - self.born_at

    @property
    def lifetime_left(self) -> float:
        return float(self.options.lifetime) - self.elapsed

    def begin_stop(self, stop: Stop, seconds: float) -> None:
        """Take no more jobs, interrupt the current one; a second call can only shorten the time."""
        self.stop = self.stop or stop
        self.stop_until = min(self.stop_until, self.clock() + seconds)
        self.stopping.set()
        job = self.job
        if job is not None:
            job.interrupt(stop.code, stop.diag, min(self.payload_grace, 0.4 * seconds))

    def seconds_to_stop(self, reserve: float = 0.0) -> float:
        """Time left before the pilot must be gone, less a reserve; infinite while it is not stopping."""
        return self.stop_until - self.clock() - reserve

    def pause(self, seconds: float) -> None:
        """Wait; returns early when the pilot begins to stop, and waits only briefly when it already does."""
        if self.stopping.is_set():
            time.sleep(max(0.0, min(seconds, 0.5, self.seconds_to_stop())))
        else:
            self.stopping.wait(seconds)

    def identity(self) -> dict[str, Any]:
        """The fields that name this pilot in every call."""
        tag = os.environ.get("GTAG", "unknown")
        return {
            "site_name": self.options.resource or self.queue.panda_resource,
            "node": socket.gethostname()[:128],
            "pilot_id": f"{tag}|{self.options.version_tag}|{PILOT_VERSION}"[:200],
        }
