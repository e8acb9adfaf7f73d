"""A job in this pilot's hands: its directory, its lease, how far it got and why it failed."""

from __future__ import annotations

import enum
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from .errors import Cancelled, Code, PilotError
from .job_spec import JobSpec
from .lease import Lease
from .metrics import Peaks
from .recorder import Recorder


class Phase(enum.Enum):
    """Where a job is on its way through the pilot."""

    CLAIMED = "claimed"
    STAGE_IN = "stage-in"
    PAYLOAD = "payload"
    STAGE_OUT = "stage-out"
    REPORTING = "reporting"


@dataclass
class Transferred:
    """One file that is safely on its storage; a line of the output report."""

    guid: str
    size_bytes: int
    adler32: str
    surl: str
    endpoint: str


@dataclass
class Job:
    """Shared by the components; only `fail`, `interrupt` and `lose` are called from several threads."""

    spec: JobSpec
    directory: Path
    lease: Lease
    phase: Phase = Phase.CLAIMED
    failure: PilotError | None = None
    lost: str = ""  #: why the job is no longer ours; nothing may be written or reported then
    payload_exit: int | None = None  #: the payload's exit code, 128 + signal when a signal ended it
    payload_pid: int = 0
    cpu_seconds: float = 0.0
    peaks: Peaks = field(default_factory=Peaks)
    started_at: float | None = None  #: epoch seconds at the payload's start
    ended_at: float | None = None
    log_from: int = 0  #: where its part of the pilot's log begins, in bytes
    output_report: dict[str, Transferred] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)
    interrupted: threading.Event = field(default_factory=threading.Event)
    draining: threading.Event = field(default_factory=threading.Event)  #: ask for no more event ranges
    finished: threading.Event = field(default_factory=threading.Event)  #: handed back to job control
    reporting: threading.Lock = field(default_factory=threading.Lock)  #: one update at a time, the final one last
    reported: bool = False  #: the final update is on its way; no other may follow
    is_watched: bool = False  #: somebody looks at its output right now
    kill_payload: Callable[[float], None] = lambda grace: None
    recorder: Recorder = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.stdout_path, self.stderr_path)

    @property
    def stdout_path(self) -> Path:
        return self.directory / "payload.stdout"

    @property
    def stderr_path(self) -> Path:
        return self.directory / "payload.stderr"

    @property
    def label(self) -> dict[str, Any]:
        """The data that every log line about this job carries."""
        return {"pandaid": self.spec.pandaid, "attempt_nr": self.spec.attempt_nr}

    def fail(self, code: Code, diag: str) -> None:
        """Note why the job failed; the first reason is the one that counts."""
        with self._lock:
            if self.failure is None:
                self.failure = PilotError(code, diag)

    def interrupt(self, code: Code, diag: str, grace: float) -> None:
        """Stop the job: whoever works for it stops at the next safe point, the payload is killed.

        A job whose outcome is already being reported is left alone.
        """
        if self.phase is Phase.REPORTING:
            return
        self.fail(code, diag)
        self.interrupted.set()
        self.kill_payload(grace)

    def lose(self, why: str) -> None:
        """Drop the job because another attempt owns it: the payload dies at once, nothing is reported."""
        with self._lock:
            self.lost = self.lost or why
        self.interrupted.set()
        self.kill_payload(0.0)

    def check(self) -> None:
        """Raise Cancelled when work for the job must stop; called between pieces of longer work."""
        if self.lost or self.interrupted.is_set() or not self.lease.held():
            raise Cancelled

    def timed(self, name: str) -> Stopwatch:
        """Measure a with-block for `pilot_timing`."""
        return Stopwatch(self.timing, name)


class Stopwatch:
    """Adds the seconds of a with-block to a table."""

    def __init__(self, table: dict[str, float], name: str) -> None:
        self._table = table
        self._name = name

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self._table[self._name] = self._table.get(self._name, 0.0) + time.monotonic() - self._begun
