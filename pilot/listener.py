"""The listener: hears from the server that there is an order for the job, long before the next heartbeat would.

It is a bell and no more: the heartbeat then reports at once and finds the order in the answer. So nothing depends on
it, and whatever goes wrong here, orders come with the heartbeats.
"""

from __future__ import annotations

import logging
import queue
import random
from typing import Any, Callable

from ..core.backoff import Backoff
from ..core.event_stream import EVENT_STREAM, read_events
from .component import Component
from .errors import PilotExit, ServerAway, StaleAttempt
from .heartbeat import usual_seconds
from .job import Job
from .slot import Slot
from .transport import LineStream

log = logging.getLogger(__name__)

#: Where heartbeats come this often, orders need no bell.
OFTEN_SECONDS = 5.0
#: Jobs that are over sooner need no bell, and cost the server nothing.
FIRST_SECONDS = 2.0
#: A stream that lasted so long was a good one: what comes after it has nothing to do with the failures before.
GOOD_SECONDS = 30.0
#: The server ends a stream after some minutes, and lets it be opened again at once.
FULL_LIFE_SECONDS = 200.0


class Listener(Component):
    """Post a job to listen to its server, None to end. `ring` is called with a job when there is an order for it."""

    def __init__(self, events: queue.SimpleQueue[Any], slot: Slot, ring: Callable[[Job], None]) -> None:
        super().__init__(events)
        self._slot = slot
        self._ring = ring
        self._newest: Job | None = None
        self._job: Job | None = None
        self._last_id = ""
        self._due_at = 0.0  #: for all jobs: a server that has no bell has none for the next job either
        self._stream: LineStream | None = None
        self._after_breaks = Backoff(5.0, 300.0)
        self._without_room = Backoff(120.0, 3600.0)
        self._without_bell = Backoff(1800.0, 14400.0)
        self._told = False

    def start(self) -> None:
        """Begin to serve, if a thread may be started for it."""
        try:
            super().start()
        except PilotExit as error:
            self._do_without(str(error))

    def post(self, message: Job | None) -> None:
        """Take up another job, or none; a stream that is open ends now. Never waits."""
        if message is self._newest:
            return
        self._newest = message
        super().post(message)
        stream = self._stream
        if stream is not None:
            stream.stop()

    def serve(self) -> None:
        try:
            super().serve()
        except Exception as error:  # noqa: BLE001 - a pilot that cannot listen works all the same
            self._do_without(repr(error))

    def handle(self, message: Job | None) -> None:
        self._job, self._last_id = None, ""
        # A server that names no time between heartbeats is not one of ours.
        if message is not None and message.spec.heartbeat_seconds:
            self._job = message if usual_seconds(self._slot, message) > OFTEN_SECONDS else None
            self._due_at = max(self._due_at, self._slot.clock() + FIRST_SECONDS)

    def seconds_to_tick(self) -> float | None:
        return None if self._job is None else max(0.0, self._due_at - self._slot.clock())

    def tick(self) -> None:
        job = self._job
        if job is None or job.lost or job.reported:
            self._job = None
            return
        begun_at = self._slot.clock()
        try:
            pause = self._listen(job)
        except StaleAttempt:
            pause = None
            self._ring_last(job)
        except ServerAway as error:
            log.debug("the stream of orders broke off", extra={"event": "listen", "problem": str(error), **job.label})
            pause = None
        was_ours = self._job is None or not self._inbox.empty()  # the end; it says nothing about the server
        if pause is None:
            pause = 0.0 if was_ours else self._pause_after(self._slot.clock() - begun_at)
        self._due_at = self._slot.clock() + pause

    def _pause_after(self, lasted_seconds: float) -> float:
        """How long to wait after a stream that ended by itself."""
        if lasted_seconds >= GOOD_SECONDS:
            self._after_breaks.reset()
        if lasted_seconds >= FULL_LIFE_SECONDS:
            return random.random()  # noqa: S311 - spreads pilots, guards nothing
        return 0.2 + self._after_breaks.next_seconds()

    def _listen(self, job: Job) -> float | None:
        """Ring for each event until the stream ends; how long to pause if there was none. Raises ServerAway."""
        spec = job.spec
        stream = self._slot.server.orders(spec.pandaid, spec.attempt_nr, self._last_id, spec.token)
        try:
            self._stream = stream  # from here on `post` ends it; a message that came before is seen below
            if stream.status != 200 or not stream.media_type.startswith(EVENT_STREAM):
                return self._pause(stream)
            if self._inbox.empty():
                self._without_room.reset()
                self._without_bell.reset()
                self._hear(job, stream)
        finally:
            self._stream = None
            stream.close()
        return None

    def _hear(self, job: Job, stream: LineStream) -> None:
        for event in read_events(stream.lines()):
            self._last_id = event.id
            log.debug("the server rings", extra={"event": "ring", "name": event.name, **job.label})
            if event.name == "end":
                self._ring_last(job)
                return
            self._ring(job)

    def _ring_last(self, job: Job) -> None:
        self._job = None
        self._ring(job)

    def _pause(self, stream: LineStream) -> float:
        """How long to leave a server alone that did not open a stream."""
        if stream.status == 429 or stream.status >= 500:
            return max(60.0, stream.retry_after) + self._without_room.next_seconds()
        self._do_without(f"HTTP {stream.status} {stream.media_type}")
        return 600.0 + self._without_bell.next_seconds()

    def _do_without(self, why: str) -> None:
        level = logging.DEBUG if self._told else logging.INFO
        self._told = True
        log.log(level, "orders come with heartbeats alone", extra={"event": "listen", "problem": why[:200]})
