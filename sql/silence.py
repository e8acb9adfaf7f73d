"""Noticing a PostgreSQL server that takes connections and says nothing: one whose processes stand still.

The system answers for it on every connection that is open, so that neither the keep-alives of TCP nor its time-outs
notice, and the server's own limits need a server that runs. What shows it is a new connection, for which somebody
there has to speak. So whoever has waited for an answer for a while opens one: if that takes too long, all give up who
wait, and until somebody there speaks again one thread at a time asks, and the others are refused at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.errors import ConnectionTimeout

#: Whoever has waited for an answer for so long asks on a new connection, and again after as long.
SILENCE_SECONDS = 3.0
#: Whoever asks a server that was silent just now is answered sooner if it speaks again.
STILL_SECONDS = 1.0
#: Beyond the server's own limit of a statement: one process there may stand still, and the others run.
SPARE_SECONDS = 5.0


class Line:
    """What the connections to one server know together of whether it answers. Threads may share it."""

    def __init__(self, statement_seconds: float) -> None:
        """The server ends statements after so long, by itself; 0: it does not."""
        self.limit_seconds = statement_seconds + SPARE_SECONDS if statement_seconds else float("inf")
        self._silent_at: float | None = None  #: when somebody asked who got no answer; none since then has got one
        self._asked_at: float | None = None  #: when somebody asked who waits still
        self._asking = threading.Lock()

    def look(self, *given: Any, **how: Any) -> None:
        """Ask the server on a new connection whether it answers, unless another thread does so."""
        if self._asking.acquire(blocking=False):
            try:
                with suppress(psycopg.Error):  # a refusal is an answer
                    self._ask(*given, **how).close()
            finally:
                self._asking.release()

    @property
    def was_silent(self) -> bool:
        """Whether the last who asked got no answer."""
        return self._silent_at is not None

    def is_silent(self, since: float) -> bool:
        """Whether the server has not answered somebody who asked after a moment, or still does not as before."""
        silent_at, asked_at = self._silent_at, self._asked_at
        if silent_at is None:
            return False
        return silent_at > since or (asked_at is not None and time.monotonic() - asked_at > STILL_SECONDS)

    def connect(self, *given: Any, **how: Any) -> psycopg.Connection[Any]:
        """A new connection. Raises what psycopg does, at once while another thread waits for a silent server."""
        if not self.was_silent:
            return self._ask(*given, **how)
        if not self._asking.acquire(blocking=False):
            raise psycopg.OperationalError("the database says nothing, and another thread waits for it already")
        try:
            return self._ask(*given, **how)
        finally:
            self._asking.release()

    def _ask(self, *given: Any, **how: Any) -> psycopg.Connection[Any]:
        self._asked_at = began = time.monotonic()
        try:
            made = Attentive.connect(*given, **how)
        except ConnectionTimeout:
            self._silent_at = began
            raise
        except psycopg.Error:  # a refusal is an answer
            self._silent_at = None
            raise
        finally:
            self._asked_at = None
        self._silent_at = None
        made.line, made.given, made.how = self, given, how
        return made


class Attentive(psycopg.Connection[Any]):
    """A connection that gives up when the server is silent."""

    line: Line
    given: tuple[Any, ...] = ()
    how: dict[str, Any]
    _looked_at: float

    def wait(self, gen: Any, *more: Any, **how: Any) -> Any:
        """What psycopg waits with for every answer; raises `OperationalError` when none will come."""
        return super().wait(self._attended(gen), *more, **how)

    def _attended(self, gen: Any) -> Generator[Any, Any, Any]:
        """Psycopg's steps, which it takes when there is something to read, and several times a second when not."""
        self._looked_at = began = time.monotonic()
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and self._is_in_vain(began):
                    self.close()
                    waited = time.monotonic() - began
                    raise psycopg.OperationalError(f"the database has said nothing for {waited:.0f} s")
                state = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _is_in_vain(self, since: float) -> bool:
        """Whether no answer will come to what was asked at a moment."""
        now = time.monotonic()
        if now - self._looked_at > SILENCE_SECONDS or self.line.was_silent:
            self.line.look(*self.given, **self.how)
            self._looked_at = time.monotonic()
        return self.line.is_silent(since) or now - since > self.line.limit_seconds
