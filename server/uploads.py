"""Receiving files: straight into the cache directory, bounded, and in place only when they are whole."""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

from flask import Request, current_app

from .errors import no_space

PARTIAL_PREFIX = ".upload-"


class UploadRequest(Request):
    """A request whose files go to the cache directory at once: /tmp may be small, and a rename needs the same disk."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        directory = current_app.extensions["bamboo"].settings.server.cache_dir
        try:
            directory.mkdir(parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=directory, prefix=PARTIAL_PREFIX)
        except OSError as error:
            raise no_space(error) from error


def measure(stream: IO[bytes]) -> tuple[int, int]:
    """Size and checksum of an upload, as clients compute them (client protocol 6.1).

    The checksum is the CRC-32 in the trailer of a gzip archive, and of any other file that of its bytes.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size >= 18 and stream.read(2) == b"\x1f\x8b":
        stream.seek(-8, os.SEEK_END)
        return size, int.from_bytes(stream.read(4), "little")
    stream.seek(0)
    checksum = 0
    while chunk := stream.read(1 << 20):
        checksum = zlib.crc32(chunk, checksum)
    return size, checksum


def put_in_place(stream: Any, target: Path) -> None:
    """Give a received file its name, after it has reached the disk; the temporary name goes away with the request."""
    try:
        stream.flush()
        os.fsync(stream.fileno())
        second_name = target.with_name(f"{PARTIAL_PREFIX}{Path(stream.name).name}.whole")
        os.link(stream.name, second_name)
        second_name.replace(target)
    except OSError as error:
        raise no_space(error) from error
