"""What processes use, read from /proc: memory, processor time, open files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """A process at a moment. Memory is PSS, which counts a page that several processes share once."""

    name: str
    pss_kb: int
    cpu_seconds: float  #: with the children that it has waited for
    n_files: int


def descendants(pid: int) -> Iterator[int]:
    """The processes that descend from one, and itself; those that end meanwhile are left out."""
    yield pid
    with suppress(OSError):
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def read(pid: int) -> Reading:
    """What a process uses now; raises `OSError` when it is gone."""
    folder = Path(f"/proc/{pid}")
    rollup = (folder / "smaps_rollup").read_text().splitlines()
    pss_kb = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    words = (folder / "cmdline").read_text().split("\0")
    modules = [word for word in words[1:] if word and not word.startswith("-")]
    return Reading(" ".join(modules[:2]), pss_kb, cpu_seconds_of(pid), len(list((folder / "fd").iterdir())))


def cpu_seconds_of(pid: int) -> float:
    """The processor time of a process and of its reaped children: fields 14 to 17 of proc(5), after the name."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / TICKS_PER_SECOND


def cpu_seconds(roots: Iterable[int]) -> float:
    """The processor time of trees of processes, all that belongs to them now."""
    total = 0.0
    for pid in (pid for root in roots for pid in descendants(root)):
        with suppress(OSError):
            total += cpu_seconds_of(pid)
    return total


def read_all(roots: Iterable[int]) -> dict[int, Reading]:
    """The readings of trees of processes that may be read."""
    found: dict[int, Reading] = {}
    for pid in (pid for root in roots for pid in descendants(root)):
        with suppress(OSError):
            found[pid] = read(pid)
    return found
