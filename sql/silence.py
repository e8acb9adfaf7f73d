"""Noticing a PostgreSQL server that takes connections and says nothing: one whose processes stand still.

The system answers for it on every connection that is open, so that neither the keep-alives of TCP nor its time-outs
notice, and the server's own limits need a server that runs. What shows it is a new connection, for which somebody
there has to speak. So statements leave a note while they wait, and a thread beside them opens a connection when one has
waited for a while: if that takes too long, it shuts the sockets of all who wait. Until somebody there speaks again one
thread at a time asks, and others who want a connection are refused at once.

A statement pays for its note alone: the thread is there while somebody waits, and ends when nobody does, so that forks
and the end of a program meet it seldom. To wait for notifications is to wait for an answer like any other.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias
from weakref import WeakSet

import psycopg
from psycopg.errors import ConnectionTimeout

#: When somebody has waited for an answer for so long, the server is asked on a new connection; again after as long.
SILENCE_SECONDS = 3.0
#: Whoever asks a server that was silent just now is answered sooner if it speaks again.
STILL_SECONDS = 1.0
#: Beyond the server's own limit of a statement: one process there may stand still, and the others run.
SPARE_SECONDS = 5.0
#: How often psycopg looks around while it waits, for signals say.
AROUND_SECONDS = 0.1

#: Who waits for an answer, and since when (`time.monotonic`).
Note: TypeAlias = "tuple[Attentive, float]"


class Line:
    """What the connections to one server know together of whether it answers. Threads may share it.

    Forked processes may have it from their parent: there it begins anew.
    """

    def __init__(self, statement_seconds: float) -> None:
        """The server ends statements after so long, by itself; 0: it does not."""
        self.limit_seconds = statement_seconds + SPARE_SECONDS if statement_seconds else float("inf")
        self.begin()
        _lines.add(self)

    def begin(self) -> None:
        """Know nothing of the server, and nobody who waits for it; threads of before are no more."""
        self.waiting: set[Note] = set()  #: whoever takes a note out, statement or watch, says how the waiting ended
        self.is_watched = False
        self._silent_at: float | None = None  #: when the last who got no answer began to ask; none has got one since
        self._answered_at = float("-inf")
        self._asked_at: float | None = None  #: when the one who asks alone began
        self._looked_at = float("-inf")
        self._asking = threading.Lock()
        self._lock = threading.Lock()  #: for what is written above; statements do not take it
        self._called = threading.Event()

    @property
    def was_silent(self) -> bool:
        """Whether the last who asked got no answer."""
        return self._silent_at is not None

    def connect(self, *given: Any, **how: Any) -> psycopg.Connection[Any]:
        """A new connection. Raises what psycopg does, at once while another thread waits for a silent server."""
        return self._ask_alone(given, how) if self.was_silent else self._ask(given, how)

    def watch(self) -> None:
        """See to it that somebody looks after those who wait."""
        with self._lock:
            if self.is_watched:
                return
            self.is_watched = True
        if not _start("watch", self._watch):
            self.is_watched = False

    def _ask_alone(self, given: tuple[Any, ...], how: dict[str, Any]) -> Attentive:
        if not self._asking.acquire(blocking=False):
            raise psycopg.OperationalError("the database says nothing, and another thread waits for it already")
        self._asked_at = time.monotonic()
        try:
            return self._ask(given, how)
        finally:
            self._asked_at = None
            self._asking.release()

    def _ask(self, given: tuple[Any, ...], how: dict[str, Any]) -> Attentive:
        began = time.monotonic()
        try:
            made = Attentive.connect(*given, **how)
        except ConnectionTimeout:
            self._unanswered(began)
            raise
        except psycopg.Error:  # a refusal is an answer
            self._answered()
            raise
        self._answered()
        made.belong(self, given, how)
        return made

    def _answered(self) -> None:
        with self._lock:
            self._answered_at, self._silent_at = time.monotonic(), None

    def _unanswered(self, began: float) -> None:
        with self._lock:
            if self._answered_at < began:  # else the server has spoken to somebody else meanwhile
                self._silent_at = began
                self._called.set()

    def _watch(self) -> None:
        """Look after those who wait, until nobody does."""
        try:
            while self._is_needed():
                self._called.wait(self._look())
                self._called.clear()
        except BaseException:
            self.is_watched = False  # for the next statement to call another
            raise

    def _is_needed(self) -> bool:
        with self._lock:
            self.is_watched = bool(self.waiting)
            return self.is_watched

    def _look(self) -> float:
        """Give up those who wait in vain, ask if somebody has waited for long; returns the seconds to the next look."""
        now, others = time.monotonic(), []
        for connection, since in self.waiting.copy():
            if self._is_in_vain(since, now):
                connection.give_up(since)
            else:
                others.append((connection, since))
        patience_seconds = STILL_SECONDS if self.was_silent else SILENCE_SECONDS
        eldest, since = min(others, key=lambda note: note[1], default=(None, now))
        due = max(since, self._looked_at) + patience_seconds
        if eldest is None or now < due:
            return due - now
        self._looked_at = now
        _start("ask", self._ask_whether_it_speaks, *eldest.origin)
        return patience_seconds

    def _ask_whether_it_speaks(self, given: tuple[Any, ...], how: dict[str, Any]) -> None:
        with suppress(psycopg.Error):
            self._ask_alone(given, how).close()

    def _is_in_vain(self, since: float, now: float) -> bool:
        """Whether no answer will come to what was asked at a moment."""
        if now - since > self.limit_seconds:
            return True
        silent_at, asked_at = self._silent_at, self._asked_at
        if silent_at is None:
            return False
        return since < silent_at or (asked_at is not None and now - max(since, asked_at) > STILL_SECONDS)


class Attentive(psycopg.Connection[Any]):
    """A connection that gives up when the server is silent."""

    line: Line
    origin: tuple[tuple[Any, ...], dict[str, Any]]  #: what it was opened with
    _descriptor: int
    _identity: os.stat_result  #: of the socket, whatever becomes of its number

    def belong(self, line: Line, given: tuple[Any, ...], how: dict[str, Any]) -> None:
        """Be one of the line's connections."""
        self.line, self.origin = line, (given, how)
        self._descriptor = self.pgconn.socket
        self._identity = os.fstat(self._descriptor)

    def wait(self, gen: Any, interval: float = AROUND_SECONDS, timeout: float | None = None) -> Any:
        """What psycopg waits with for every answer; raises `OperationalError` when none will come."""
        line = self.line
        note = (self, time.monotonic())
        try:
            line.waiting.add(note)
            if not line.is_watched:
                line.watch()
            return super().wait(gen, interval, timeout)
        except psycopg.Error:
            if note in line.waiting:
                raise
            waited = time.monotonic() - note[1]
            raise psycopg.OperationalError(f"the database has said nothing for {waited:.0f} s") from None
        finally:
            try:
                line.waiting.remove(note)
            except KeyError:  # given up: its socket is shut
                self.close()

    def give_up(self, since: float) -> None:
        """Shut the socket under the statement that has waited since then, which wakes it; nothing if it has ended.

        The driver closes sockets by itself when a connection breaks, and their numbers are given to others at once: so
        the socket is held by a number of ours before it is compared.
        """
        try:
            ours = os.dup(self._descriptor)
        except OSError:  # closed by now; or no number is free, and the next look tries again
            return
        if not os.path.samestat(os.fstat(ours), self._identity):
            os.close(ours)
            return
        with socket.socket(fileno=ours) as held, suppress(KeyError, OSError):  # ended by now, or cut off
            self.line.waiting.remove((self, since))
            held.shutdown(socket.SHUT_RDWR)


def _start(name: str, what: Callable[..., None], *given: Any) -> bool:
    """Whether a thread could be started: there may be too many, or the program may end."""
    try:
        threading.Thread(target=what, args=given, name=f"silence {name}", daemon=True).start()
    except RuntimeError:
        return False
    return True


_lines: WeakSet[Line] = WeakSet()


def _begin_all() -> None:
    for line in list(_lines):
        line.begin()


os.register_at_fork(after_in_child=_begin_all)
