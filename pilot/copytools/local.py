"""Files on a disk that this machine mounts: `file://` addresses and plain paths."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...core.checksums import adler32, read_chunks
from . import Guard, Stamp

SCHEMES = ("file", "")


def path_of(url: str) -> Path:
    """Give the absolute path that an address names; raises OSError for another host's or a relative one."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path) if parts.scheme else url)
    if parts.netloc not in ("", "localhost") or not path.is_absolute():
        raise OSError(f"not an absolute path on this machine: {url}")
    return path


def fetch(source: str, target: Path, guard: Guard) -> None:
    """Link the file into the job directory; the caller verifies it through the link."""
    guard.check()
    path = path_of(source)
    path.stat()
    target.symlink_to(path)


def store(source: Path, target: str, stamp: Stamp, guard: Guard) -> None:
    """Copy under a name of this attempt, verify, rename: readers see the whole file or none.

    A file that is already there and equal is left alone. One that differs belongs to an attempt that
    did not live to report it, or to somebody else: the server must confirm that the job is ours,
    and the older file is kept beside the new one.
    """
    final = path_of(target)
    final.parent.mkdir(parents=True, exist_ok=True)
    if _is(final, stamp):
        return
    partial = final.with_name(f".{final.name}.{guard.mark}")
    try:
        with partial.open("wb") as sink:
            for chunk in read_chunks(source, guard.check):
                sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
        if not _is(partial, stamp):
            raise OSError(f"what arrived at {partial} is not what was sent")
        guard.check()
        if final.exists():
            guard.confirm()
            with contextlib.suppress(FileExistsError):
                os.link(final, final.with_name(f".{final.name}.before.{guard.mark}"))
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)
    _sync_directory(final.parent)


def _is(path: Path, stamp: Stamp) -> bool:
    try:
        return path.stat().st_size == stamp.size_bytes and adler32(path) == stamp.adler32
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
