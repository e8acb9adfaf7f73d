"""Whole systems in real processes, to be watched, killed and counted."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patience import PATIENCE_SECONDS, eventually

from bamboo.admin.chaos.private import QUICK
from bamboo.admin.chaos.victims import KINDS, Process, descendants, left_behind, of_kind, processes
from bamboo.client import Client, connect

__all__ = ["KINDS", "QUICK", "Operator", "Process", "RunningSystem", "descendants", "processes"]


@dataclass
class RunningSystem:
    """`bamboo up` in a process of its own."""

    folder: Path
    arguments: list[str]
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    url: str = ""

    def start(self) -> RunningSystem:
        self.folder.mkdir(exist_ok=True)
        output = self.folder / "up.out"
        with output.open("wb") as sink:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bamboo",
                    "up",
                    "--state",
                    str(self.folder / "state"),
                    "--port",
                    self._port(),
                    *self.arguments,
                ],
                stdout=sink,
                stderr=sink,
                env={**os.environ, **self.environ},
                cwd=self.folder,
                start_new_session=True,
            )
        told = eventually(lambda: self._told(output), "the system to be up")
        self.url = told.group(1)
        return self

    def _port(self) -> str:
        """The port of before, as jobs know the server by it; 0 at first, for a free one."""
        return self.url.rpartition(":")[2] or "0"

    def _told(self, output: Path) -> re.Match[str] | None:
        assert self.process.poll() is None, output.read_text()
        return re.search(r"Bamboo is up at (\S+)", output.read_text())

    @property
    def client(self) -> Client:
        return connect(self.url, user="alice")

    def run(
        self, *arguments: str, environ: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """A command of a user of this system."""
        return subprocess.run(
            [sys.executable, "-m", "bamboo", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "BAMBOO_URL": self.url, "BAMBOO_USER": "alice", "NO_COLOR": "1", **(environ or {})},
            timeout=PATIENCE_SECONDS,
            **{"cwd": self.folder, **options},
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """A script of a user who has our programs in PATH, and knows nothing of this system."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
            cwd=self.folder,
            timeout=PATIENCE_SECONDS,
        )

    def of_kind(self, kind: str) -> list[Process]:
        """The living processes of one kind; see KINDS."""
        return of_kind(self.process.pid, kind)

    def kill_one(self, kind: str, rng: random.Random) -> bool:
        """SIGKILL a process of a kind, if there is one now."""
        there = self.of_kind(kind)
        if not there:
            return False
        try:
            os.kill(rng.choice(there).pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to stop; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def left_behind(self) -> list[Process]:
        """Living processes that have to do with this system's folder."""
        return left_behind(self.folder)

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass
class Operator:
    """Somebody who types commands in a folder; `environ` is what is set in the shell."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bamboo", *arguments],
            capture_output=True,
            text=True,
            env=self._environ(),
            cwd=self.folder,
            timeout=PATIENCE_SECONDS,
        )

    def start(self, name: str, *command: str) -> None:
        """Start something that our interpreter runs."""
        self.start_program(name, sys.executable, *command)

    def start_program(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as sink:
            self.running[name] = subprocess.Popen(
                command, stdout=sink, stderr=sink, env=self._environ(), cwd=self.folder
            )

    def told(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text()

    def wait_for(self, name: str, words: str) -> str:
        """The rest of the line in which a part says these words."""
        text = eventually(lambda: words in self.told(name) and self.told(name), f"{name} to say {words!r}")
        return str(text.partition(words)[2].splitlines()[0].strip())

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        self.running[name].send_signal(number)
        return self.running.pop(name).wait(PATIENCE_SECONDS)

    def clean_up(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def _environ(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("BAMBOO_")}
        return {**clean, "NO_COLOR": "1", **self.environ}
