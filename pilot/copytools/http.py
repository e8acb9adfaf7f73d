"""Files behind HTTP: GET to fetch, PUT to store."""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ...core.checksums import read_chunks
from . import Guard, Stamp

SCHEMES = ("http", "https")
TIMEOUT_SECONDS = 60.0
PIECE_BYTES = 1 << 20


def fetch(source: str, target: Path, guard: Guard) -> None:
    """Download to a partial file, then rename; a shorter body than announced is an error."""
    partial = target.with_name(f".{target.name}.part")
    try:
        with _open(urllib.request.Request(source)) as answer, partial.open("wb") as sink:  # noqa: S310 - our scheme
            while piece := answer.read1(PIECE_BYTES):
                guard.check()
                sink.write(piece)
            announced = answer.headers.get("Content-Length")
            if announced is not None and int(announced) != sink.tell():
                raise OSError(f"{source}: {sink.tell()} of {announced} bytes arrived")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def store(source: Path, target: str, stamp: Stamp, guard: Guard) -> None:
    """Upload with PUT and ask for the stored length; the storage must replace files in one step.

    Before something that is already there is replaced, the server must confirm that the job is ours.
    """
    if _stored_bytes(target) is not None:
        guard.confirm()
    request = urllib.request.Request(  # noqa: S310 - our scheme
        target,
        data=read_chunks(source, guard.check),
        method="PUT",
        headers={"Content-Length": str(stamp.size_bytes), "Content-Type": "application/octet-stream"},
    )
    with _open(request) as answer:
        answer.read()
    stored = _stored_bytes(target)
    if stored != stamp.size_bytes:
        raise OSError(f"{target}: {stored} bytes are stored, {stamp.size_bytes} were sent")


def _stored_bytes(target: str) -> int | None:
    """Ask how long the file at an address is; None when there is none."""
    try:
        with _open(urllib.request.Request(target, method="HEAD")) as answer:  # noqa: S310 - our scheme
            return int(answer.headers["Content-Length"])
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise OSError(f"{target}: the storage does not tell the file's length") from error


@contextlib.contextmanager
def _open(request: urllib.request.Request) -> Iterator[http.client.HTTPResponse]:
    """Send a request; raises FileNotFoundError for 404 and 410, OSError for all else that goes wrong."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - our scheme
            yield answer
    except urllib.error.HTTPError as error:
        problem = f"{request.get_method()} {request.full_url}: HTTP {error.code}"
        raise (FileNotFoundError if error.code in (404, 410) else OSError)(problem) from error
    except http.client.HTTPException as error:
        raise OSError(f"{request.full_url}: {error!r}") from error
