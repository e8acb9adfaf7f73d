"""Worlds for chores to work on, and daemons in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.settings import Settings
from bamboo.daemon.context import Context
from bamboo.plugins.manager import Plugins


@pytest.fixture
def make_world(clock: ManualClock) -> Callable[..., World]:
    """Makes worlds on an engine, by the standing clock unless another is given."""
    return lambda engine, own_clock=clock: World(engine, own_clock)


@pytest.fixture
def world(engine: sa.Engine, make_world: Callable[..., World]) -> World:
    return make_world(engine)


@pytest.fixture
def make_context(clock: ManualClock) -> Callable[..., Context]:
    """Makes contexts with the given sections of settings."""

    def _make(engine: sa.Engine, **sections: Any) -> Context:
        settings = Settings(**sections)
        return Context(engine=engine, clock=clock, settings=settings, plugins=Plugins(settings, engine, clock))

    return _make


@pytest.fixture
def context(engine: sa.Engine, make_context: Callable[..., Context]) -> Context:
    return make_context(engine)


#: A chore of a stranger's package: it notes what it does, and behaves as its arguments say.
NOTING_CHORE = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Report:
    worked: bool = False

class Noting:
    name = "noting"

    def __init__(self, context, name, folder, manner="idle"):
        self.context, self.name, self.folder, self.manner = context, name, Path(folder), manner

    def note(self, what):
        with (self.folder / "notes").open("a") as notes:
            notes.write(f"{self.name} {what} {os.getpid()} {time.monotonic()}\\n")

    def run_once(self):
        self.note("begin")
        if self.manner == "fails":
            raise RuntimeError("as told")
        if self.manner == "dies":
            os._exit(3)
        if self.manner == "waits":
            while not (self.folder / "go").exists():
                with self.context.begin():
                    pass
                time.sleep(0.01)
        if self.manner == "hangs":
            time.sleep(600)
        if self.manner == "crash_once" and not self.context.after_crash:
            self.note("dying")
            os.kill(os.getpid(), 9)
        self.note("end")
        return Report(worked=self.manner == "loops")

def build(context, arguments):
    return Noting(context, *arguments)
"""

RUNNER = """
import logging, sys
from pathlib import Path
from bamboo.core.settings import load
from bamboo.daemon.master import run_daemon
class Formatter(logging.Formatter):
    def format(self, record):
        for key in ("event", "chore"):
            record.__dict__.setdefault(key, "-")
        return super().format(record)

handler = logging.StreamHandler(sys.stderr)
handler.setFormatter(Formatter("%(levelname)s %(message)s %(event)s %(chore)s"))
logging.basicConfig(level="INFO", handlers=[handler])
sys.exit(run_daemon(load([Path(sys.argv[1])]).settings, sys.argv[2]))
"""


@dataclass(frozen=True)
class Note:
    """What a chore has noted: its name, what it did, in which process and when."""

    chore: str
    what: str
    pid: int
    at: float


class Daemon:
    """A daemon in a process of its own."""

    def __init__(self, folder: Path, config: dict[str, Any], url: str, **options: Any) -> None:
        self.folder = folder
        package = folder / "scripts_of_mine"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        (package / "noting.py").write_text(NOTING_CHORE)
        round_seconds = options.pop("round_seconds", 900)
        given = {"enable": "True", "package": "scripts_of_mine", "config": json.dumps(config)} | options
        handle, name = tempfile.mkstemp(dir=folder, suffix=".cfg")
        os.close(handle)
        self.log = Path(f"{name}.log")
        lines = ["[master]", f"round_seconds = {round_seconds}", "[daemon]"]
        Path(name).write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in given.items())]))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUNNER, name, url],
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(folder)},
            )

    def notes(self, chore: str | None = None, what: str | None = None) -> list[Note]:
        path = self.folder / "notes"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        notes = [Note(name, did, int(pid), float(at)) for name, did, pid, at in lines]
        return [note for note in notes if chore in (None, note.chore) and what in (None, note.what)]

    def wait_for(self, n: int, chore: str | None = None, what: str | None = None) -> list[Note]:
        """The notes, once there are at least so many."""
        eventually(lambda: len(self.notes(chore, what)) >= n or self.process.poll() is not None, f"{n} notes")
        assert self.process.poll() is None, self.log.read_text()
        return self.notes(chore, what)

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and say with which code it did."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start_daemon(tmp_path: Path, sqlite_url: str) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons that run noting chores: {name: (manner, entry)}."""
    started: list[Daemon] = []

    def _start(chores: dict[str, tuple[str, dict[str, Any]]], url: str = sqlite_url, **options: Any) -> Daemon:
        config = {
            name: {"module": "noting", "arguments": [name, str(tmp_path), manner], **entry}
            for name, (manner, entry) in chores.items()
        }
        started.append(Daemon(tmp_path, config, url, **options))
        return started[-1]

    yield _start
    for one in started:
        one.clean_up()
