"""Fetches JSON documents from files and URLs: in bounded time, of bounded size, with errors that say what to do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from .errors import BambooError, Fault, Invalid, TooLarge, Unavailable
from .grid_documents import parse_json

#: Bytes that are read at a time; the limits are looked at in between.
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """How long to wait for an answer and for all of it, in seconds, and how many bytes are taken.

    `section` names the part of the settings where these stand, for hints; `redirects` says whether they are followed.
    """

    connect_seconds: float = 10.0
    total_seconds: float = 120.0
    max_bytes: int = 128 * 1024 * 1024
    section: str = ""
    redirects: bool = True

    def hint(self, name: str) -> str:
        """What to do when a limit was reached."""
        return f"raise {name} in {self.section}" if self.section else ""


def fetch_json(source: str, limits: Limits | None = None) -> Any:
    """The JSON document of a path, a file:// URL or an http(s):// URL.

    Raises `Unavailable` when it cannot be had, `TooLarge`, and `Invalid` when it is no JSON.
    """
    limits = limits or Limits()
    address = urlsplit(source)
    if address.scheme in ("http", "https"):
        return parse_json(_download(source, limits), source)
    if address.scheme not in ("", "file"):
        raise Invalid(
            source, [Fault("the scheme", f"{address.scheme!r} cannot be read", "give a path, file:// or https://")]
        )
    path = Path(unquote(address.path)) if address.scheme == "file" else Path(source)
    try:
        with path.open("rb") as stream:
            text = stream.read(limits.max_bytes + 1)
    except OSError as error:
        raise Unavailable(f"{source} cannot be read: {error.strerror}", hint="check the path") from error
    if len(text) > limits.max_bytes:
        raise _too_large(source, limits)
    return parse_json(text, source)


def _download(url: str, limits: Limits) -> bytes:
    try:
        with requests.get(
            url,
            stream=True,
            timeout=limits.connect_seconds,
            headers={"Accept": "application/json"},
            allow_redirects=limits.redirects,
        ) as reply:
            if reply.status_code != 200:
                raise Unavailable(f"{url} answered with HTTP {reply.status_code}", hint="check the address")
            return _body(reply, url, limits)
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise Unavailable(f"{url} said nothing for {limits.connect_seconds:g} s", hint="is it up?") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Unavailable(f"{url} cannot be read: {error}", hint="check the address, and that it is up") from error


def _body(reply: requests.Response, url: str, limits: Limits) -> bytes:
    """All of the answer, unpacked. A short one is told apart from a whole one where the server says the length."""
    deadline = time.monotonic() + limits.total_seconds
    body = bytearray()
    # Not `iter_content`, which waits for a whole chunk: a source that gives a byte now and then would hold us.
    while chunk := reply.raw.read1(CHUNK, decode_content=True):
        body += chunk
        if len(body) > limits.max_bytes:
            raise _too_large(url, limits)
        if time.monotonic() > deadline:
            said = f"{url} took longer than {limits.total_seconds:g} s"
            raise Unavailable(said, hint=limits.hint("total_seconds"))
    return bytes(body)


def _too_large(source: str, limits: Limits) -> BambooError:
    return TooLarge(f"{source} has more than {limits.max_bytes} bytes", hint=limits.hint("max_bytes"))
