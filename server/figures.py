"""What the processes of a server have counted of requests, summed up over all of them.

Each process keeps its figures in memory, and once a second writes those that changed to a file of its own. Whichever
process is asked adds up all files, so that what dead ones had counted is in the sums. No figure names a user.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

#: Upper bounds of the classes by which answers are counted, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: How old what a process has written may be. (A file, not memory that processes share: to write to a mapped file on a
#: full disk kills the process that does.)
WRITE_SECONDS = 1.0
#: Other methods are somebody's invention, and there may be any number of them.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
SUFFIX = ".json"


@dataclass
class Sums:
    """Counts since the server started."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)  #: by route, method and status
    refusals: Counter[str] = field(default_factory=Counter)  #: by code
    #: By route and method: how many answers took up to each bound, how many longer, and the seconds of all.
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add_request(self, route: str, method: str, status: int, seconds: float, n: int = 1) -> None:
        """Count `n` requests that were answered after so many seconds each."""
        method = method if method in METHODS else "OTHER"
        self.requests[route, method, status] += n
        classes = self.seconds.setdefault((route, method), [0.0] * (len(BOUNDS) + 2))
        classes[bisect_left(BOUNDS, seconds)] += n
        classes[-1] += seconds * n

    def add(self, other: Sums) -> None:
        """Add what another process has counted."""
        self.requests.update(other.requests)
        self.refusals.update(other.refusals)
        for key, theirs in other.seconds.items():
            ours = self.seconds.get(key, [0.0] * len(theirs))
            self.seconds[key] = [one + two for one, two in zip(ours, theirs, strict=True)]

    def text(self) -> str:
        return json.dumps(
            {
                "requests": [[*key, n] for key, n in self.requests.items()],
                "refusals": dict(self.refusals),
                "seconds": [[*key, classes] for key, classes in self.seconds.items()],
            }
        )

    @classmethod
    def parse(cls, text: str) -> Sums:
        told: dict[str, Any] = json.loads(text)
        return cls(
            Counter({(route, method, status): n for route, method, status, n in told["requests"]}),
            Counter(told["refusals"]),
            {(route, method): classes for route, method, classes in told["seconds"]},
        )


class Figures:
    """The figures of one process, shared with the others once it is told of a folder."""

    def __init__(self) -> None:
        self._own = Sums()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._file: Path | None = None
        self._timer: threading.Timer | None = None

    def share(self, folder: Path) -> None:
        """Write what is counted from now on to a folder, for all processes to read. Call it after the fork."""
        with contextlib.suppress(OSError):  # a full disk, most often; counted is in memory then
            folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{uuid.uuid4().hex}{SUFFIX}"

    def request(self, route: str, method: str, status: int, seconds: float, *, refusal: str = "", n: int = 1) -> None:
        """Count `n` requests, and the code with which they were refused."""
        with self._lock:
            self._own.add_request(route, method, status, seconds, n)
            if refusal:
                self._own.refusals[refusal] += n
            if self._file is not None and self._timer is None:
                self._timer = threading.Timer(WRITE_SECONDS, self.write)
                self._timer.daemon = True
                self._timer.start()

    def sums(self) -> Sums:
        """What all processes have counted; what others counted in the last second may be missing."""
        self.write()
        if self._file is None or not self._file.exists():
            with self._lock:
                return Sums.parse(self._own.text())
        total = Sums()
        for one in _read(self._file.parent):
            total.add(one)
        return total

    def write(self) -> None:
        """Write what this process has counted, as a whole or not at all."""
        with self._lock:
            self._timer = None
        if self._file is None:
            return
        partial = self._file.with_suffix(".partial")
        with self._writing:
            with self._lock:
                text = self._own.text()
            try:
                partial.write_text(text)
                partial.replace(self._file)
            except OSError as error:  # it is counted on, and written when there is room again
                log.debug("figures could not be written", extra={"event": "figures_not_written", "why": str(error)})
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)


def folder_of(cache_dir: Path, host: str, port: int) -> Path:
    """Where the processes of one server keep their figures; the cache may be shared by several machines."""
    return cache_dir / ".metrics" / f"{os.uname().nodename}-{host}-{port}".replace("/", "_")


def forget(folder: Path) -> None:
    """Begin anew: a server that starts counts from zero."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> Iterable[Sums]:
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            yield Sums.parse(path.read_text())
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("figures could not be read", extra={"event": "figures_not_read", "why": str(error)})
