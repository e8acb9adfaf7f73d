"""The processes of a running `bamboo up`, by what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Which child of the supervisor, and how many generations below it.
KINDS = {
    "server": ("bamboo server", 0),
    "server worker": ("bamboo server", 1),
    "jedi master": ("bamboo jedi", 0),
    "agent": ("bamboo jedi", 1),
    "daemon master": ("bamboo daemon", 0),
    "daemon worker": ("bamboo daemon", 1),
    "pilot": ("bamboo.pilot", 0),
    "keeper": ("bamboo.pilot", 1),
    "payload": ("bamboo.pilot", 2),
}


@dataclass(frozen=True)
class Process:
    """One process as /proc shows it."""

    pid: int
    parent: int
    command: str


def processes() -> dict[int, Process]:
    """All processes of the machine that are not over, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(entry.name)] = Process(int(entry.name), int(parent), command)
    return found


def descendants(pid: int) -> list[Process]:
    """All processes below one, parents before children."""
    everyone = processes()
    below: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in everyone.values() if process.parent in parents]
        below += children
        parents = {process.pid for process in children}
    return below


def of_kind(supervisor: int, kind: str) -> list[Process]:
    """The living processes of one of `KINDS`, by pid."""
    everyone = processes()
    word, depth = KINDS[kind]
    level = [one for one in everyone.values() if one.parent == supervisor and word in one.command]
    for _ in range(depth):
        parents = {process.pid for process in level}
        level = [process for process in everyone.values() if process.parent in parents]
    return sorted(level, key=lambda process: process.pid)


def left_behind(folder: Path) -> list[Process]:
    """Living processes whose command lines have to do with a folder."""
    return [process for process in processes().values() if str(folder) in process.command]
