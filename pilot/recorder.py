"""The flight recorder: notes what a job uses and prints, so that one that is killed without a word still shows both.

Samples and output wait here until the server has accepted them *twice*: it collects heartbeats, and loses them when it
dies. What arrives twice counts once there.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.flight_records import MOST_PROCESSES, MOST_SENT, SENT_BYTES, Sample, thinned
from .capture import kept_bytes, piece
from .metrics import Peaks, Usage


@dataclass(frozen=True)
class _Told:
    """How far a report went: the time of the last sample, and the end of each stream."""

    until: float = 0.0
    ends: tuple[int, ...] = (0, 0)


class _Stream:
    """The bytes of one captured stream, counted from its beginning."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0  #: bytes that are in no file any more
        self._size = 0

    def since(self, begin: int) -> tuple[int, str]:
        """What was written after a place, or as much of its end as may be sent, and where that begins.

        Once a flood is being cut, places are lower bounds.
        """
        size, cut = kept_bytes(self._path)
        if size < self._size:
            self._before += cut or self._size
        self._size = size
        end = self._before + size
        at = min(end, max(begin, end - SENT_BYTES, self._before))
        return at, piece(self._path, at - self._before, size)


class Recorder:
    """The record of one job. The job monitor notes, the heartbeat sends; both may at once."""

    def __init__(self, stdout: Path, stderr: Path) -> None:
        self._streams = (_Stream(stdout), _Stream(stderr))
        self._samples: list[Sample] = []
        self._tree: list[list[Any]] = []
        self._bounds: dict[str, int] = {}
        self._told: deque[_Told] = deque([_Told(), _Told()], maxlen=2)
        self._telling = _Told()
        self._lock = threading.Lock()

    def note(self, at: float, usage: Usage, peaks: Peaks) -> None:
        """Take a look at the job's processes."""
        pss_kb = usage.pss_kb or (self._samples[-1][2] if self._samples else 0)
        moved = [peaks.io_total(counter) // 1024 for counter in ("read_bytes", "write_bytes")]
        sample = [round(at, 1), usage.rss_kb, pss_kb, round(usage.cpu_seconds, 2), *moved]
        with self._lock:
            self._samples = thinned([*self._samples, sample], MOST_SENT)
            self._tree = usage.tree[:MOST_PROCESSES]

    def bound(self, **bounds: int) -> None:
        """Keep what ends the job when its memory grows: `pilot_limit_kb`, `kernel_limit_kb`, and `oom_kills` so far."""
        with self._lock:
            self._bounds = {**self._bounds, **bounds}

    def unsent(self) -> dict[str, Any]:
        """The part of a report for what the server may not have yet; empty before anything was noted or printed."""
        begin = self._told[0]
        with self._lock:
            samples = [sample for sample in self._samples if sample[0] > begin.until]
            record: dict[str, Any] = {"samples": samples, "tree": self._tree} if samples else {}
            record.update(self._bounds if samples or self._bounds.get("oom_kills") else {})
        ends = []
        for name, stream, since in zip(("stdout", "stderr"), self._streams, begin.ends):
            at, text = stream.since(since)
            ends.append(at + len(text.encode()))
            if text:
                record[name] = {"at": at, "text": text}
        self._telling = _Told(samples[-1][0] if samples else begin.until, tuple(ends))
        return record

    def accepted(self) -> None:
        """The server has accepted the report with what `unsent` gave last."""
        self._told.append(self._telling)
        with self._lock:
            new = [sample for sample in self._samples if sample[0] > self._told[0].until]
            self._samples = new or self._samples[-1:]
