"""Files behind URLs: measured, opened and copied with their size and checksum verified."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

import requests

from ..core.errors import Fault, Invalid
from .errors import DamagedFile, NoSuchFile, ServerUnreachable
from .model import FileInfo
from .transport import TIMEOUT_SECONDS, root_cause

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Measured:
    """What identifies a file's content: its size and its adler32 as eight hex digits."""

    size_bytes: int
    adler32: str


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def measure(path: Path) -> Measured:
    """Read a file once for its size and checksum."""
    with path.open("rb") as stream:
        return pour(chunks(stream), lambda _: None)


def pour(source: Iterator[bytes], write: Callable[[bytes], object]) -> Measured:
    """Write all chunks and measure them on the way."""
    size_bytes, checksum = 0, 1
    for chunk in source:
        write(chunk)
        size_bytes += len(chunk)
        checksum = zlib.adler32(chunk, checksum)
    return Measured(size_bytes, f"{checksum:08x}")


@contextmanager
def reading(url: str) -> Iterator[Iterator[bytes]]:
    """The chunks behind a file://, http:// or https:// URL. Raises `NoSuchFile` or `ServerUnreachable`."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        try:
            with Path(unquote(parts.path)).open("rb") as stream:
                yield chunks(stream)
        except FileNotFoundError as error:
            hint = "it may be on another machine, or have been removed"
            raise NoSuchFile(f"{url} is not there", hint=hint) from error
    elif parts.scheme in ("http", "https"):
        with http_chunks(url) as source:
            yield source
    else:
        do = "copy it with that storage's own tool"
        raise Invalid("copy", [Fault(url, f"'{parts.scheme}' addresses cannot be read here", do)])


@contextmanager
def http_chunks(url: str) -> Iterator[Iterator[bytes]]:
    """The body behind an http(s) URL, as it is stored: nothing is unpacked on the way."""
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}) as reply:
            if reply.status_code in (404, 410):
                raise NoSuchFile(f"{url} is not there")
            if reply.status_code != 200:
                raise ServerUnreachable(f"{url} answered with HTTP {reply.status_code}")
            yield iter(lambda: cast(bytes, reply.raw.read(CHUNK_BYTES)), b"")
    except requests.RequestException as error:
        raise ServerUnreachable(f"{url}: {root_cause(error)}") from error


def fetch(file: FileInfo, folder: Path) -> tuple[Path, bool]:
    """Copy a file into `folder` under its own name; returns the path, and whether anything had to be copied.

    The copy gets its name only once size and checksum are verified. A copy that is there already and
    verifies is left alone; one that does not is replaced.
    """
    target = folder / safe_name(file.lfn)
    if target.is_file() and not differences(file, measure(target)):
        return target, False
    if not file.url:
        raise NoSuchFile(f"{file.lfn} has no address on record", hint="it may not have been produced yet")
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{target.name}.{os.getpid()}.part"
    try:
        with reading(file.url) as source, partial.open("wb") as stream:
            measured = pour(source, stream.write)
        if wrong := differences(file, measured):
            raise DamagedFile(f"{file.lfn}: {wrong}", hint=f"copied from {file.url}; nothing was kept")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target, True


def differences(file: FileInfo, measured: Measured) -> str:
    """In which ways a copy is not the file on record; empty if it is. What is not on record is not compared."""
    wrong = []
    if file.row.get("size_bytes", file.row.get("fsize")) is not None and measured.size_bytes != file.size_bytes:
        wrong.append(f"{measured.size_bytes} bytes instead of {file.size_bytes}")
    if file.adler32 and measured.adler32 != file.adler32:
        wrong.append(f"adler32 {measured.adler32} instead of {file.adler32}")
    return ", ".join(wrong)


def safe_name(lfn: str) -> str:
    """`lfn` if it names a file in the folder it is put into, and nothing else."""
    if lfn in ("", ".", "..") or "/" in lfn or "\0" in lfn:
        raise Invalid("copy", [Fault(repr(lfn), "this is no name for a file in a folder", "ask who registered it")])
    return lfn
