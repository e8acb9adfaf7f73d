"""The pilot monitor: signals, lifetime and crashed components; decides when the pilot ends (manual ch. 7.3)."""

from __future__ import annotations

import logging
import queue
import signal
from typing import Any

from .component import Crashed
from .errors import Code, Exit, PilotExit
from .job import Phase
from .job_control import Ended
from .slot import Slot, Stop

log = logging.getLogger(__name__)

SIGNALS = {
    signal.SIGTERM: Code.SIGTERM,
    signal.SIGINT: Code.SIGINT,
    signal.SIGQUIT: Code.SIGQUIT,
    signal.SIGXCPU: Code.SIGXCPU,
    signal.SIGUSR1: Code.SIGUSR1,
}
HURRIED_SECONDS = 2.0  # what a second signal leaves
IDLE_SECONDS = 1.0  # for a request for work that is just under way
REPORT_RESERVE = 0.3  # part of the grace kept for the final report


def leave_on_signals() -> None:
    """Until there is a job to care for, end the pilot at once; must be called in the main thread."""

    def leave(signum: int, frame: object) -> None:
        raise PilotExit(Exit.DONE, f"told to stop by {signal.Signals(signum).name} during start-up")

    for signum in SIGNALS:
        signal.signal(signum, leave)


def listen_to_signals(events: queue.SimpleQueue[Any]) -> None:
    """Turn signals into events; must be called in the main thread."""
    for signum in SIGNALS:
        signal.signal(signum, lambda number, frame: events.put(signal.Signals(number)))


class PilotMonitor:
    """Runs in the main thread until job control has ended or time is up; gives the exit code."""

    def __init__(self, events: queue.SimpleQueue[Any], slot: Slot) -> None:
        self._events = events
        self._slot = slot
        self._interrupted_job = False

    def watch(self) -> int:
        """Serve events; returns the pilot's exit code."""
        slot = self._slot
        while True:
            try:
                event = self._events.get(timeout=self._seconds_to_wait())
            except queue.Empty:
                if not slot.stopping.is_set():
                    self._begin(Stop(Code.OUT_OF_TIME, "the pilot's lifetime is over", Exit.LIFETIME_OVER))
                elif slot.seconds_to_stop() <= 0:
                    return self._exit_code(Exit.DONE)
                elif slot.job is not None:
                    log.warning("not waiting any longer for the job", extra={"event": "stop", **slot.job.label})
                    slot.job.finished.set()
                continue
            if isinstance(event, Ended):
                return self._exit_code(event.exit_code)
            if isinstance(event, Crashed):
                log.critical("component crashed", exc_info=event.error, extra={"event": "crash", "of": event.component})
                self._begin(Stop(Code.PILOT_PROBLEM, f"{event.component} crashed: {event.error!r}", Exit.CRASHED))
                if event.component == "JobControl":
                    return Exit.CRASHED
            else:
                self._on_signal(event)

    def _on_signal(self, signum: signal.Signals) -> None:
        log.warning("signal", extra={"event": "signal", "signal": signum.name})
        stop = Stop(SIGNALS[signum], f"the pilot was told to stop by {signum.name}", 128 + signum)
        self._begin(stop, HURRIED_SECONDS if self._slot.stopping.is_set() else float("inf"))

    def _begin(self, stop: Stop, at_most_seconds: float = float("inf")) -> None:
        job = self._slot.job
        self._interrupted_job = self._interrupted_job or (job is not None and job.phase is not Phase.REPORTING)
        grace = IDLE_SECONDS if job is None else self._slot.options.kill_grace
        self._slot.begin_stop(stop, min(grace, at_most_seconds))

    def _seconds_to_wait(self) -> float:
        slot = self._slot
        if not slot.stopping.is_set():
            return max(0.0, slot.lifetime_left)
        left = slot.seconds_to_stop()
        until_report = left - REPORT_RESERVE * slot.options.kill_grace
        waiting = slot.job is not None and not slot.job.finished.is_set()
        return max(0.0, until_report if waiting else left)

    def _exit_code(self, otherwise: int) -> int:
        stop = self._slot.stop
        if stop is not None and (self._interrupted_job or stop.code is Code.PILOT_PROBLEM):
            return stop.exit_code
        return otherwise
