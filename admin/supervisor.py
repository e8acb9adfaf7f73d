"""Keeps the processes of a whole system together: starts them, restarts what dies, leaves nothing behind."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NoReturn, Protocol

from ..core.process import die_with_parent, rename

log = logging.getLogger(__name__)

#: How long a part has to end by itself before it is killed.
STOP_SECONDS = 12.0
#: A part that dies at once is not restarted faster than this, and more slowly each time up to the second figure.
RESTART_SECONDS = 0.5
MAX_RESTART_SECONDS = 30.0
LOOK_SECONDS = 0.5
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_fork = multiprocessing.get_context("fork")


class Child(Protocol):
    """A process that was started here."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""

    def kill(self) -> None: ...


@dataclass
class Part:
    """One process of the system. `wave` says in which order parts are stopped: the lowest first.

    A part with a `program` is forked from this process, whose loaded modules it shares, and only called by its
    `command`; the program's answer is its exit status. One without is started by its command.
    """

    name: str
    command: Sequence[str]
    wave: int
    environ: Mapping[str, str]
    log_file: Path
    program: Callable[[], int] | None = None
    process: Child | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = field(default=0)


def python(*arguments: str) -> list[str]:
    """A command that runs one of our modules in this interpreter, whatever modules lie in the working folder."""
    return [sys.executable, "-P", "-m", *arguments]


class Supervisor:
    """Runs parts until it is told to stop. Each part is a session of its own, so that Ctrl-C reaches only us.

    A part that dies over and over is started again after `longest_pause_seconds` at the latest.
    """

    def __init__(self, longest_pause_seconds: float = MAX_RESTART_SECONDS) -> None:
        self.parts: list[Part] = []
        self._longest_pause_seconds = longest_pause_seconds

    def start(self, part: Part) -> None:
        """Start a part and keep it running from now on."""
        self.parts.append(part)
        self._spawn(part)

    def keep(self) -> NoReturn:
        """Restart what dies, until an exception ends it."""
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Reap what has ended, and restart the parts whose time has come."""
        for part in self.parts:
            status = part.process.poll() if part.process is not None else None
            if status is not None:
                self._note_death(part, status)
            if part.process is None and part.restart_at <= time.monotonic():
                self._spawn(part)
        _reap_orphans({part.process.pid for part in self.parts if part.process is not None})

    def stop(self) -> None:
        """Stop all parts, wave by wave."""
        for wave in sorted({part.wave for part in self.parts}):
            running = [part.process for part in self.parts if part.wave == wave and part.process is not None]
            for process in running:
                _signal(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            for process in running:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.parts.clear()

    def _spawn(self, part: Part) -> None:
        me = os.getpid()
        if part.program is None:
            with part.log_file.open("ab") as output:
                part.process = subprocess.Popen(
                    list(part.command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **part.environ},
                    start_new_session=True,
                    preexec_fn=lambda: die_with_parent(me),  # noqa: PLW1509 - only one thread when we start parts
                )
        else:
            part.process = Fork(part.program, part, me)
        part.started_at = time.monotonic()

    def _note_death(self, part: Part, status: int) -> None:
        lived = time.monotonic() - part.started_at
        part.failures = 0 if lived > MAX_RESTART_SECONDS else part.failures + 1
        longest = self._longest_pause_seconds
        pause = min(longest, RESTART_SECONDS * 2 ** (part.failures - 1)) if part.failures else 0.0
        part.restart_at = time.monotonic() + pause
        part.process = None
        extra = {"event": "part_died", "part": part.name, "status": status, "log_file": str(part.log_file)}
        log.warning("a part ended and is started again", extra=extra)


class Fork:
    """A part that was forked from this process, seen from here like a `Popen`."""

    def __init__(self, program: Callable[[], int], part: Part, parent: int) -> None:
        self._command = part.command
        self._process: ForkProcess = _fork.Process(target=_be_part, args=(program, part, parent), name=part.name)
        # Until the part has its own handlers a signal waits: it would be taken for one to this process.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        self._process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _be_part(program: Callable[[], int], part: Part, parent: int) -> None:
    """The life of a forked part: what `exec` and a new session would have given it, then its program."""
    os.setsid()
    die_with_parent(parent)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    rename(" ".join(part.command))
    output = os.open(part.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(nothing)
    os.environ.update(part.environ)
    raise SystemExit(program())


def kill_descendants() -> None:
    """Kill every process that descends from this one, and wait until none is left."""
    while True:
        children = _children(os.getpid())
        if not children:
            return
        for pid in children:
            _signal(pid, signal.SIGKILL)
        for pid in children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue


def _children(pid: int) -> list[int]:
    """The direct children of a process; orphans among our descendants become ours, so that none escapes."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _reap_orphans(parts: set[int]) -> None:
    """Collect the ends of processes that were left to us; a part's own end is for its `Popen`."""
    for pid in _children(os.getpid()):
        if pid not in parts:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
