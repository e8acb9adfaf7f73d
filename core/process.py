"""Linux's ways of keeping processes together. Standard library only and Python 3.9."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent dies; ends it now if the parent is gone already.

    Call it in the child, from its main thread: the kernel means the thread that made the child.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process, so that it can find and end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit of open files to what is wanted, as far as it may; returns the limit that it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def share_memory() -> None:
    """Take all that is loaded so far out of the garbage collector's sight, for the processes forked from now on.

    A collection writes to every object that it looks at, and a page that a process has written to is its own.
    """
    gc.collect()
    gc.freeze()


def rename(command: str) -> None:
    """Have `ps` and /proc show this process under another command line, cut to the length of the one it has.

    For a forked process that has become another program; nothing happens where the kernel does not say where the
    command line lies (fields 48 and 49 of /proc/self/stat, proc(5)).
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if 0 < start < end:
        room = end - start
        words = b"\0".join(os.fsencode(word) for word in command.split())
        ctypes.memmove(start, words[: room - 1].ljust(room, b"\0"), room)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
