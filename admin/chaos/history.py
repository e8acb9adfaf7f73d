"""What the clients of a campaign did and were told, line by line on disk before anything follows from it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Step(StrEnum):
    INVOKE = "invoke"  #: about to be sent
    OK = "ok"  #: acknowledged: this must never be lost
    FAIL = "fail"  #: refused: nothing came of it
    UNKNOWN = "unknown"  #: no usable answer: it may have happened, once


@dataclass(frozen=True)
class Line:
    """One step of one submission. `at` is in seconds of the monotonic clock."""

    step: Step
    task_name: str
    n_inputs: int
    task_id: int = 0
    told: str = ""
    at: float = 0.0


class History:
    """The file of a campaign, to which several threads write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, step: Step, task_name: str, n_inputs: int, *, task_id: int = 0, told: str = "") -> None:
        """Write a line, and return when it is on disk."""
        line = Line(step, task_name, n_inputs, task_id, told[:300], round(time.monotonic(), 3))
        with self._lock:
            os.write(self._file, json.dumps(asdict(line)).encode() + b"\n")
            os.fsync(self._file)

    def lines(self) -> Iterator[Line]:
        """What was written so far, without a line that is being written."""
        for text in self._path.read_text().splitlines(keepends=True):
            if text.endswith("\n"):
                row = json.loads(text)
                yield Line(**{**row, "step": Step(row["step"])})

    def close(self) -> None:
        os.close(self._file)
