"""Process trees: how the pilot makes sure that nothing a payload started outlives it.

Only our own descendants are ever signalled: with PR_SET_CHILD_SUBREAPER even daemons that
forked twice and left their session come back to us as children.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """List the direct children of a process, zombies included; empty when it is gone."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except FileNotFoundError:
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            return _children_by_scan(pid)
    except (ProcessLookupError, PermissionError):
        return found
    return found


def _children_by_scan(pid: int) -> list[int]:
    """The slow way, for kernels built without CONFIG_PROC_CHILDREN."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == pid]


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def descendants(pid: int) -> list[int]:
    """List all processes below `pid` at this moment, parents before children."""
    found: list[int] = []
    waiting = children(pid)
    while waiting:
        found += waiting
        waiting = [grandchild for child in waiting for grandchild in children(child)]
    return found


def signal_all(pids: list[int], signum: int) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):  # gone, or became another user's by setuid
            continue


def kill_descendants(within_seconds: float) -> bool:
    """SIGKILL and reap everything below this process; tells whether nothing is left.

    Repeats until none is found, because a process may fork while we look.
    """
    give_up = time.monotonic() + within_seconds
    while True:
        signal_all(descendants(os.getpid()), signal.SIGKILL)
        if not reap_all():
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)


def reap_all() -> bool:
    """Collect all dead children; tells whether living ones remain."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
