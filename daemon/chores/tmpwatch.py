"""Tmpwatch: removes sandboxes that nobody needs any more, and what interrupted uploads have left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ...sql import archive
from ..context import Context

PAGE = 500
#: How the server names a file while it is being received (server/uploads.py).
PARTIAL_UPLOADS = (".upload-*",)
#: How clients name sandboxes.
SANDBOXES = ("sources.*", "jobO.*")


@dataclass
class Cleaned:
    """What a run removed: rows of sandboxes, and files of this machine."""

    sandboxes: int = 0
    files: int = 0


class Tmpwatch:
    """Keeps the cache directory of this machine from growing for ever.

    A sandbox's row goes before its file. A crash in between leaves a file without a row, which a later run removes;
    the other way round a user would be told that the sandbox is there when it is not. A file that was written
    anew under the old name is young, and young files stay.
    """

    name = "tmpwatch"

    def __init__(self, context: Context) -> None:
        self.context = context
        self.directory = context.settings.server.cache_dir

    def run_once(self) -> Cleaned:
        """Forget old sandboxes, then remove old files that are nobody's."""
        retention = self.context.settings.retention
        now = self.context.clock()
        report = Cleaned(sandboxes=self._forget(now - timedelta(days=retention.sandboxes)))
        if self.directory.is_dir():
            report.files = self._sweep(now - timedelta(days=retention.scratch))
        return report

    def _forget(self, before: datetime) -> int:
        forgotten, after = 0, ""
        while True:
            with self.context.reading() as tx:
                names = archive.unused_sandboxes(tx, before=before, after=after, limit=PAGE)
            for name in names:
                with self.context.begin() as tx:
                    gone = archive.forget_sandbox(tx, name, before=before)
                if gone:
                    forgotten += 1
                    self._unlink(self.directory / name, before)
            if len(names) < PAGE:
                return forgotten
            after = names[-1]

    def _sweep(self, before: datetime) -> int:
        """Remove what interrupted uploads left, and sandboxes that have no row (any more)."""
        removed = sum(self._unlink(path, before) for path in self._matching(PARTIAL_UPLOADS))
        sandboxes = {path.name for path in self._matching(SANDBOXES)}
        with self.context.reading() as tx:
            unknown = sandboxes - archive.known_sandboxes(tx, sandboxes)
        return removed + sum(self._unlink(self.directory / name, before) for name in sorted(unknown))

    def _matching(self, patterns: Sequence[str]) -> Iterator[Path]:
        return (path for pattern in patterns for path in self.directory.glob(pattern) if path.is_file())

    @staticmethod
    def _unlink(path: Path, before: datetime) -> bool:
        """Remove a file that was last written before a moment; says whether it was there and is gone."""
        try:
            if path.stat().st_mtime >= before.timestamp():
                return False
            path.unlink()
        except FileNotFoundError:
            return False
        return True


def build(context: Context, arguments: Sequence[object] = ()) -> Tmpwatch:
    """The chore."""
    return Tmpwatch(context)
