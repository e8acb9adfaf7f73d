"""The pilot's side of the keeper: start one payload, end it, learn how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

OUTPUT_LIMIT_BYTES = 2 << 30  # PanDA's limit; what is kept of it is far less (capture.py)


class KeeperGone(Exception):
    """The keeper process died; its payload died with it."""


@dataclass(frozen=True)
class PayloadEnd:
    """How a payload ended. `reason` is empty, or who ended it: `order`, `lease` or `output`."""

    exit_code: int  #: 128 + signal when a signal ended it
    signal: int
    reason: str
    cpu_seconds: float
    max_rss_kb: int
    survivors: int  #: processes it left running, killed
    output_bytes: int


class PayloadKeeper:
    """Orders to the keeper may come from any thread; `run` only from the one that waits for the payload."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control
        self._sending = threading.Lock()
        self._received = b""

    def run(
        self,
        command: str,
        directory: Path,
        environment: Mapping[str, str],
        started: Callable[[int], None],
    ) -> PayloadEnd:
        """Run a shell command in a directory until nothing of it is left; `started` gets its pid at once.

        Raises OSError when it cannot be started, KeeperGone when the keeper died.
        """
        self._send(
            {
                "op": "run",
                "argv": ["/bin/bash", "-c", command],
                "cwd": str(directory),
                "env": dict(environment),
                "stdout": str(directory / "payload.stdout"),
                "stderr": str(directory / "payload.stderr"),
                "limit_bytes": OUTPUT_LIMIT_BYTES,
            }
        )
        while True:
            event = self._receive()
            if event["event"] == "started":
                started(event["pid"])
                continue
            if event["event"] == "refused":
                raise OSError(event["errno"], event["problem"])
            status = event["status"]
            signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            return PayloadEnd(
                exit_code=128 + signum if signum else os.WEXITSTATUS(status),
                signal=signum,
                reason=event["reason"],
                cpu_seconds=event["cpu_seconds"],
                max_rss_kb=event["max_rss_kb"],
                survivors=event["survivors"],
                output_bytes=event["output_bytes"],
            )

    def kill(self, grace: float) -> None:
        """End the running payload: TERM, then KILL after `grace` seconds; nothing when none runs."""
        with contextlib.suppress(KeeperGone):  # then the payload is gone too
            self._send({"op": "kill", "grace": grace})

    def set_deadline(self, at: float) -> None:
        """Let the keeper kill the payload at this time by itself (boot seconds): the lease's end."""
        with contextlib.suppress(KeeperGone):
            self._send({"op": "deadline", "at": at})

    def close(self) -> None:
        """Let the keeper end everything and go; the pilot does not need it any more."""
        with contextlib.suppress(OSError):  # it may have gone first
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()

    def _send(self, order: Mapping[str, Any]) -> None:
        try:
            with self._sending:
                self._control.sendall(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise KeeperGone(str(error)) from error

    def _receive(self) -> Any:
        while b"\n" not in self._received:
            try:
                data = self._control.recv(1 << 16)
            except OSError as error:
                raise KeeperGone(str(error)) from error
            if not data:
                raise KeeperGone("the keeper process ended")
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        return json.loads(line)
