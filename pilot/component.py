"""A component of the pilot: one thread that serves one inbox."""

from __future__ import annotations

import queue
import signal
import threading
from dataclasses import dataclass
from typing import Any

from .errors import Exit, PilotExit


@dataclass(frozen=True)
class Crashed:
    """A component met something nobody foresaw; the pilot must end, loudly."""

    component: str
    error: BaseException


class Component:
    """Handles messages one after the other, and ticks when none came in time."""

    def __init__(self, events: queue.SimpleQueue[Any]) -> None:
        self._events = events
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def post(self, message: Any) -> None:
        """Put a message into the inbox; any thread may."""
        self._inbox.put(message)

    def handle(self, message: Any) -> None:
        """Do what a message asks."""
        raise NotImplementedError

    def seconds_to_tick(self) -> float | None:
        """How long to wait for a message before `tick`; None waits for ever."""
        return None

    def tick(self) -> None:
        """Do what is due by time."""

    def serve(self) -> None:
        """Wait for messages until the process ends."""
        while True:
            try:
                message = self._inbox.get(timeout=self.seconds_to_tick())
            except queue.Empty:
                self.tick()
            else:
                self.handle(message)

    def start(self) -> None:
        """Begin to serve, in a thread that does not keep the process alive. Raises PilotExit where none may start."""
        try:
            threading.Thread(target=self.thread_main, name=type(self).__name__, daemon=True).start()
        except RuntimeError as error:
            raise PilotExit(Exit.NO_PROCESSES, f"{error}: more must be allowed here (ulimit -u)") from error

    def thread_main(self) -> None:
        """Serve; a crash becomes an event for the pilot monitor."""
        # A signal taken by this thread would not wake the main thread, which has to act on it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.serve()
        except Exception as error:  # noqa: BLE001 - a dead component would leave the job hanging without a word
            self._events.put(Crashed(type(self).__name__, error))
