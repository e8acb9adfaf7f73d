"""Keeps a payload's output: the beginning, the end, and how much was dropped between them."""

from __future__ import annotations

import codecs
import contextlib
import errno
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


def tail(path: Path, length: int, since: int = 0) -> str:
    """Return the last `length` bytes written so far, of those after the first `since`, as text; empty without any."""
    if since:
        length = max(0, min(length, path.stat().st_size - since)) if path.exists() else 0
    return _tail(path, length).decode("utf-8", "replace").replace("\x00", "?")[-length:]


def _tail(path: Path, length: int) -> bytes:
    recent, older = _recent(path), _older(path)
    content = b""
    for part in (recent, older if older.exists() else path) if recent.exists() else (path,):
        content = _last_bytes(part, length - len(content)) + content
    return content


def piece(path: Path, begin: int, end: int) -> str:
    """Return what was written between two places; of a flood that is being cut, as much of its end."""
    content = _tail(path, end - begin) if _recent(path).exists() else _bytes(path, begin, end - begin)
    return exact_text(content)


def exact_text(content: bytes) -> str:
    """Bytes as a text that has as many in UTF-8: what is none, and what no database stores, is a `?` for each byte.

    A letter that is not whole yet, at the end, is left out.
    """
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(content.replace(b"\0", b"?"))
    return "".join("?" if "\udc80" <= letter <= "\udcff" else letter for letter in text)


def kept_bytes(path: Path) -> tuple[int, int]:
    """How many bytes of an output are in its files, and how many these lose each time that a flood is cut."""
    recent = _size(_recent(path))
    return _size(path) + _size(_older(path)) + recent, TAIL_BYTES if recent else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_bytes(path: Path, length: int) -> bytes:
    return _bytes(path, max(0, _size(path) - length), length)


def _bytes(path: Path, begin: int, length: int) -> bytes:
    try:
        if not path.is_file():  # the payload may have put anything in its place
            return b""
        with path.open("rb") as source:
            source.seek(begin)
            return source.read(length)
    except OSError:  # the keeper moves parts, the payload may take permissions away
        return b""
