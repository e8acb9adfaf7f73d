"""Copy tools: how files come here and go away. One module a tool, found by its name.

A tool is a module of this package with `SCHEMES` (address schemes it serves, "" for plain paths),
`fetch(source, target, guard)` and `store(source, target, stamp, guard)`. More tools are added
to the shipped archive with `build(..., extra_copytools=[...])`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Protocol
from urllib.parse import urlsplit

from ..errors import Code, PilotError

ALIASES = {"mv": "local", "cp": "local", "ln": "local", "file": "local", "https": "http"}
BUILT_IN = ("local", "http")


@dataclass(frozen=True)
class Stamp:
    """What a file must be like to be the right one."""

    size_bytes: int
    adler32: str


@dataclass(frozen=True)
class Guard:
    """The job's interests during a transfer."""

    check: Callable[[], None]  #: raises Cancelled when work must stop; called between pieces
    confirm: Callable[[], None]  #: asks the server whether the job is still ours; raises when not
    mark: str  #: `<pandaid>.<attempt>`, makes unfinished files of different attempts distinct


class CopyTool(Protocol):
    """The shape of a copy tool module."""

    SCHEMES: tuple[str, ...]

    def fetch(self, source: str, target: Path, guard: Guard) -> None:
        """Make the file available at `target`; raises FileNotFoundError or another OSError."""

    def store(self, source: Path, target: str, stamp: Stamp, guard: Guard) -> None:
        """Put a file at its address completely or not at all; raises OSError."""


def choose(names: Iterable[str], url: str) -> CopyTool:
    """Find the first of the queue's tools that serves an address; without names, a built-in one."""
    scheme = urlsplit(url).scheme
    known = [ALIASES.get(name, name) for name in names]
    for name in known or BUILT_IN:
        tool = _load(name)
        if tool is not None and scheme in tool.SCHEMES:
            return tool
    raise PilotError(
        Code.UNKNOWN_COPYTOOL,
        f"no copy tool for {url}: the queue allows {', '.join(known or BUILT_IN)}; add one to its acopytools",
    )


def _load(name: str) -> CopyTool | None:
    if not name.isidentifier():
        return None
    try:
        module = importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError:
        return None
    return module
