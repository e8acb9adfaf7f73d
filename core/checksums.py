"""Checksums of files as the data management world writes them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


def read_chunks(path: Path, check: Callable[[], None] | None = None) -> Iterator[bytes]:
    """Give the file's bytes piece by piece; `check` runs before each piece and may raise to stop."""
    with path.open("rb") as source:
        while True:
            if check is not None:
                check()
            chunk = source.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


def adler32(path: Path, check: Callable[[], None] | None = None) -> str:
    """Return the file's adler32 as 8 lower-case hex digits (Rucio's form), reading it once."""
    value = 1
    for chunk in read_chunks(path, check):
        value = zlib.adler32(chunk, value)
    return f"{value & 0xFFFFFFFF:08x}"


def md5(path: Path, check: Callable[[], None] | None = None) -> str:
    """Return the file's MD5 as 32 lower-case hex digits; it detects damage, it proves nothing."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in read_chunks(path, check):
        digest.update(chunk)
    return digest.hexdigest()
