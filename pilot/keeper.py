"""The keeper: a small process between the pilot and the payload that no payload outlives.

It is forked once, before the pilot starts threads, and then starts payload after payload. It
ends everything below it when the payload ends, when it is told to, when the lease's deadline
passes (even if the pilot hangs), and when the pilot is gone (end of file on the socket).

Messages are JSON lines. To the keeper: `run`, `kill` (grace in seconds), `deadline` (seconds of
CLOCK_BOOTTIME, or null). From the keeper: `started` or `refused`, then `exited`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import Any, Callable

from ..core.process import become_subreaper, die_with_parent
from . import processes
from .capture import CappedFile
from .lease import boot_seconds

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
READ_BYTES = 1 << 16
KILL_AGAIN_SECONDS = 0.1  # something may have been forked just then
LONGEST_WAIT_SECONDS = 86400.0  # the kernel counts milliseconds in 31 bits, which are less than 25 days
UNKILLABLE_SECONDS = 10.0  # a process in uninterruptible sleep cannot be waited for for ever


class Run:
    """One payload: its process, its captured output, and what ended it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.captures = [CappedFile(Path(order["stdout"])), CappedFile(Path(order["stderr"]))]
        self.limit_bytes: int = order["limit_bytes"]
        self.reason = ""
        self.kill_at: float | None = None
        self.status: int | None = None
        self.cpu_seconds = 0.0
        self.max_rss_kb = 0
        self.survivors = 0
        self.pipes: list[int] = []
        self.pid = self._start(order)

    def _start(self, order: dict[str, Any]) -> int:
        ends = [os.pipe(), os.pipe()]
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_payload(order, ends[0][1], ends[1][1], keeper)
        for reading, writing in ends:
            os.close(writing)
            os.set_blocking(reading, False)
            self.pipes.append(reading)
        return pid

    def take_output(self, pipe: int) -> bool:
        """Move one piece from the pipe to its file; tells whether more may come."""
        try:
            chunk = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return True
        self.captures[self.pipes.index(pipe)].write(chunk)
        return bool(chunk)

    @property
    def output_bytes(self) -> int:
        return sum(capture.total_bytes for capture in self.captures)


def _become_payload(order: dict[str, Any], stdout: int, stderr: int, keeper: int) -> None:
    """Turn the forked child into the payload; never returns."""
    try:
        os.setsid()
        die_with_parent(keeper)
        signal.set_wakeup_fd(-1)
        for signum in (*IGNORED, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_DFL)
        with contextlib.suppress(OSError):  # if memory runs out the kernel shall take the payload, not the pilot
            Path("/proc/self/oom_score_adj").write_text("500")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.chdir(order["cwd"])
        os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - the argv names its shell
    except OSError as error:
        os.write(2, f"pilot: cannot start the payload: {error}\n".encode())
    finally:
        os._exit(127)


class Keeper:
    """The keeper's loop: one thread, woken by messages, output, dead children and deadlines."""

    def __init__(self, control: socket.socket, clock: Callable[[], float] = boot_seconds) -> None:
        self.control = control
        self.clock = clock
        self.run: Run | None = None
        self.deadline: float | None = None
        self._received = b""
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Work until the pilot closes its end, then leave nothing behind."""
        self._prepare()
        while True:
            for key, _ in self._selector.select(self._seconds_to_next_deadline()):
                if key.fileobj is self.control:
                    if not self._receive():
                        processes.kill_descendants(UNKILLABLE_SECONDS)
                        return
                elif key.data == "wake":
                    os.read(key.fd, 4096)
                elif self.run is not None and not self.run.take_output(key.fd):
                    self._selector.unregister(key.fd)
            self._look_after_run()

    def _prepare(self) -> None:
        os.setsid()
        become_subreaper()
        for signum in IGNORED:
            signal.signal(signum, signal.SIG_IGN)
        reading, writing = os.pipe()
        for end in (reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        self._selector.register(reading, selectors.EVENT_READ, "wake")
        self._selector.register(self.control, selectors.EVENT_READ)

    def _seconds_to_next_deadline(self) -> float | None:
        if self.run is None:
            return None
        times = [at for at in (self.deadline, self.run.kill_at) if at is not None]
        return min(LONGEST_WAIT_SECONDS, max(0.0, min(times) - self.clock())) if times else None

    def _receive(self) -> bool:
        try:
            data = self.control.recv(READ_BYTES)
        except ConnectionResetError:
            return False
        self._received += data
        while b"\n" in self._received:
            line, self._received = self._received.split(b"\n", 1)
            self._obey(json.loads(line))
        return bool(data)

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "run":
            self._start(order)
        elif order["op"] == "deadline":
            self.deadline = order["at"]
        elif order["op"] == "kill" and self.run is not None:
            self._kill("order", order["grace"])

    def _start(self, order: dict[str, Any]) -> None:
        try:
            self.run = Run(order)
        except OSError as error:
            self._tell({"event": "refused", "errno": error.errno, "problem": error.strerror})
            return
        for pipe in self.run.pipes:
            self._selector.register(pipe, selectors.EVENT_READ)
        self._tell({"event": "started", "pid": self.run.pid})

    def _kill(self, reason: str, grace: float) -> None:
        run = self.run
        if run is None:
            return
        run.reason = run.reason or reason
        kill_at = self.clock() + grace
        if grace > 0 and run.kill_at is None:
            processes.signal_all(processes.descendants(os.getpid()), signal.SIGTERM)
        run.kill_at = kill_at if run.kill_at is None else min(run.kill_at, kill_at)

    def _look_after_run(self) -> None:
        run = self.run
        if run is None:
            return
        if self.deadline is not None and self.clock() >= self.deadline:
            self.deadline = None
            self._kill("lease", 0.0)
        if run.output_bytes > run.limit_bytes:
            self._kill("output", 0.0)
        if run.kill_at is not None and self.clock() >= run.kill_at:
            processes.signal_all(processes.descendants(os.getpid()), signal.SIGKILL)
            run.kill_at = self.clock() + KILL_AGAIN_SECONDS
        self._reap(run)
        if run.status is not None:
            self._finish(run)

    def _reap(self, run: Run) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run.cpu_seconds += usage.ru_utime + usage.ru_stime
            run.max_rss_kb = max(run.max_rss_kb, usage.ru_maxrss)
            if pid == run.pid:
                run.status = status

    def _finish(self, run: Run) -> None:
        """The payload itself has ended: end what it left running, save the output, tell the pilot."""
        give_up = time.monotonic() + UNKILLABLE_SECONDS
        while True:
            left = processes.descendants(os.getpid())
            run.survivors = max(run.survivors, len(left))
            processes.signal_all(left, signal.SIGKILL)
            self._reap(run)
            self._drain(run)
            if not left or time.monotonic() > give_up:
                break
            time.sleep(0.002)
        for pipe, capture in zip(run.pipes, run.captures):
            with contextlib.suppress(KeyError):
                self._selector.unregister(pipe)
            os.close(pipe)
            capture.close()
        self.run = None
        self._tell(
            {
                "event": "exited",
                "status": run.status,
                "reason": run.reason,
                "cpu_seconds": run.cpu_seconds,
                "max_rss_kb": run.max_rss_kb,
                "survivors": run.survivors,
                "output_bytes": run.output_bytes,
            }
        )

    def _drain(self, run: Run) -> None:
        for pipe, capture in zip(run.pipes, run.captures):
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(pipe, READ_BYTES):
                    capture.write(chunk)

    def _tell(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the end of file that follows ends the keeper
            self.control.sendall(json.dumps(event).encode() + b"\n")


def fork_keeper() -> tuple[int, socket.socket]:
    """Start the keeper; must be called before any thread exists. Gives its pid and the pilot's end."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    ours.close()
    try:
        Keeper(theirs).serve()
    finally:
        processes.kill_descendants(UNKILLABLE_SECONDS)
        os._exit(0)
