"""The folder in which a whole system on one machine keeps everything."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..core.errors import BadState

CACHE_TAG = "CACHEDIR.TAG"


@dataclass(frozen=True)
class StateFolder:
    """Where the parts of `bamboo up` keep their things."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "bamboo.db"

    @property
    def sqlite_url(self) -> str:
        return f"sqlite:///{self.database}"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def storage(self) -> Path:
        return self.root / "storage"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pilots(self) -> Path:
        return self.root / "pilots"

    @property
    def auth(self) -> Path:
        return self.root / "auth"

    @property
    def client(self) -> Path:
        return self.root / "client"

    @property
    def url(self) -> Path:
        """Holds the server's address."""
        return self.root / "url"

    def last_port(self, host: str) -> int:
        """The port of the last server that was up here at this address; 0 if there was none."""
        try:
            last = urlsplit(self.url.read_text().strip())
            return (last.port or 0) if last.netloc.rpartition(":")[0] == host else 0
        except (OSError, ValueError):
            return 0

    @property
    def demo_marker(self) -> Path:
        """Says that all in here was made by `bamboo demo`, which may remove it again."""
        return self.root / "made-by-demo"

    @property
    def lock(self) -> Path:
        """Locked while a system runs here; stays when it ends."""
        return self.root / "lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other system out of the folder; raises `BadState` when one is up in it.

        The lock belongs to this process alone, not to its forks, so it is gone with this process whatever ends it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self.lock.open("a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                hint = "stop it, or choose another folder with --state"
                raise BadState(f"a system is up in {self.root} already", hint=hint) from error
            yield

    def make(self) -> None:
        """Make the folders, tagged so that backups and sandboxes pass them over (bford.info/cachedir)."""
        for folder in (self.cache, self.storage, self.logs, self.pilots):
            folder.mkdir(parents=True, exist_ok=True)
        (self.root / CACHE_TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
