"""The copy tool `gfal`, for storages that grid tools reach: davs, root, gsiftp, srm.

It goes into the pilot with `bamboo pilot build`. Standard library only and Python 3.9; it runs `gfal-copy` and
`gfal-sum`, which the machine must have.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

SCHEMES = ("davs", "root", "gsiftp", "srm")
#: How long one command may take.
TIMEOUT_SECONDS = 3600


def fetch(source: str, target: Path, guard: Any) -> None:
    """Copy the file to `target`; the caller verifies it. Raises OSError."""
    guard.check()
    _run("gfal-copy", "--force", source, target.absolute().as_uri())


def store(source: Path, target: str, stamp: Any, guard: Any) -> None:
    """Put a file at its address and compare its checksum there; raises OSError.

    A file that is there already is replaced only while the server says that the job is ours.
    """
    guard.check()
    if _checksum(target) == stamp.adler32:
        return
    guard.confirm()
    _run("gfal-copy", "--force", "--parent", source.absolute().as_uri(), target)
    found = _checksum(target)
    if found != stamp.adler32:
        raise OSError(f"{target} has adler32 {found or 'unknown'} after the copy instead of {stamp.adler32}")


def _checksum(url: str) -> str:
    """The adler32 of a file on a storage; empty when there is none."""
    try:
        words = _run("gfal-sum", url, "ADLER32").split()
    except OSError:
        return ""
    return words[-1].lower().rjust(8, "0") if words else ""


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} took longer than {TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        raise OSError(f"{command[0]} failed with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
