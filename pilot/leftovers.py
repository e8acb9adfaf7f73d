"""Homes of pilots that were killed before they could clean up: the next pilot in the same folder removes them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
from pathlib import Path
from typing import IO

HOME_PREFIX = "PanDA_Pilot3_"
#: In each home, locked while its pilot or its keeper lives; holds the name of the machine.
MARK = "pilot.alive"


def mark(home: Path) -> IO[str]:
    """Mark a home as that of this process, and of the keeper it forks, as long as one of them keeps the file open.

    Raises OSError when the place cannot be written, or its file system has no locks.
    """
    partial = home / f"{MARK}.new"  # renamed when it is locked: nobody ever sees a mark that is free by mistake
    file = partial.open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.write(socket.gethostname())
    file.flush()
    partial.rename(home / MARK)
    return file


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the homes in a folder that pilots of this machine have left; returns them.

    Only what is marked and not locked: other machines may use the folder too, and their locks may not be seen here.
    """
    removed = []
    for marked in sorted(parent.glob(f"{HOME_PREFIX}*/{MARK}")):
        with contextlib.suppress(OSError), marked.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.read() == socket.gethostname():
                remove_tree(marked.parent)
                removed.append(marked.parent)
    return removed


def remove_tree(directory: Path) -> None:
    """Remove a tree, also one in which the payload has taken away its owner's permissions; what cannot go stays."""
    shutil.rmtree(directory, ignore_errors=True)
    if not directory.exists():
        return
    with contextlib.suppress(OSError):
        directory.chmod(0o700)
        for folder, names, _ in os.walk(directory):
            for name in names:
                child = Path(folder, name)
                if not child.is_symlink():
                    child.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
