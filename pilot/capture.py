"""Keeps a payload's output: the beginning, the end, and how much was dropped between them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 16 << 20
TAIL_BYTES = 2 << 20


def _recent(path: Path) -> Path:
    return path.with_name(path.name + ".recent")


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".older")


class CappedFile:
    """A log file that never grows beyond head + 2 tails, however much is written.

    The first `head_bytes` go to `path`; what follows goes to `path.recent`, which becomes
    `path.older` each time it is full. `close` joins the parts, through the handles it has had from
    the start: the payload may do to the names what it likes. A full disk loses text, never the job.
    """

    def __init__(self, path: Path, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self.path = path
        self.tail_bytes = tail_bytes
        self.total_bytes = 0
        self._room = head_bytes
        self._head = path.open("w+b", buffering=0)
        self._tails: list[BinaryIO] = []  # the older and the recent part
        self._sink: BinaryIO | None = self._head

    def write(self, chunk: bytes) -> None:
        """Take one piece of output."""
        self.total_bytes += len(chunk)
        while chunk:
            if self._room == 0:
                self._rotate()
            piece, chunk = chunk[: self._room], chunk[self._room :]
            self._room -= len(piece)
            if self._sink is not None:
                with _losing_text():
                    self._sink.write(piece)

    def _rotate(self) -> None:
        self._room = self.tail_bytes
        self._sink = None
        with _losing_text():
            recent = _recent(self.path)
            if self._tails:
                recent.replace(_older(self.path))
            self._sink = recent.open("w+b", buffering=0)
            self._tails.append(self._sink)
            if len(self._tails) > 2:
                self._tails.pop(0).close()

    def close(self) -> None:
        """Join head, note and tail into `path`."""
        parts = [_content(part) for part in self._tails]
        dropped = self.total_bytes - self._head.tell() - sum(map(len, parts))
        with _losing_text():
            if dropped:
                self._head.write(f"\n[pilot: {dropped} bytes of output dropped here]\n".encode())
            for part in parts:
                self._head.write(part)
        for handle in (self._head, *self._tails):
            handle.close()
        for name in (_older(self.path), _recent(self.path)):
            with _losing_text():
                name.unlink(missing_ok=True)


def _content(part: BinaryIO) -> bytes:
    part.seek(0)
    return part.read()


@contextlib.contextmanager
def _losing_text() -> Iterator[None]:
    """Let output go when there is no room for it, or the payload took the directory away."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT, errno.EACCES):
            raise


def tail(path: Path, length: int) -> str:
    """Return the last `length` bytes written so far as text; empty when there are none."""
    recent, older = _recent(path), _older(path)
    content = b""
    for part in (recent, older if older.exists() else path) if recent.exists() else (path,):
        content = _last_bytes(part, length - len(content)) + content
    return content.decode("utf-8", "replace").replace("\x00", "?")[-length:]


def _last_bytes(path: Path, length: int) -> bytes:
    try:
        if not path.is_file():  # the payload may have put anything in its place
            return b""
        with path.open("rb") as source:
            source.seek(max(0, os.fstat(source.fileno()).st_size - length))
            return source.read(length)
    except OSError:  # the keeper moves parts, the payload may take permissions away
        return b""
