"""A scripted server on a free port, and the real command line against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from bamboo.tests.client.client_harness import (
    ROOT,
    Bamboo,
    Ended,
    MakeRow,
    OpenTerminal,
    ScriptedServer,
    Start,
    Terminal,
    task_row,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.thread.start()
    yield scripted
    scripted.http.shutdown()
    scripted.http.server_close()
    scripted.thread.join()


@pytest.fixture
def environ(server: ScriptedServer, tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not re.match("BAMBOO|PANDA|.*_proxy", key, re.I)}
    home = tmp_path / "home"
    home.mkdir()
    return kept | {"BAMBOO_URL": server.url, "BAMBOO_USER": "alice", "HOME": str(home)}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def start(environ: dict[str, str], workdir: Path) -> Start:
    """Start `bamboo` with the given words and do not wait for it."""

    def start(*words: object, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", ROOT, *map(str, words)],
            cwd=workdir,
            env=environ | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def bamboo(start: Start) -> Bamboo:
    """Run `bamboo` with the given words to its end."""

    def run(*words: object, stdin: str = "", **more: str) -> Ended:
        process = start(*words, **more)
        out, err = process.communicate(stdin, timeout=PATIENCE_SECONDS)
        return Ended(process.returncode, out, err)

    return run


@pytest.fixture
def capture() -> Callable[[str], Any]:
    """A request of PanDA's own client, from the files beside this one."""
    return lambda name: json.loads((Path(__file__).parent / "captures" / f"{name}.json").read_text())


@pytest.fixture
def row() -> MakeRow:
    return task_row


@pytest.fixture
def terminal(environ: dict[str, str], workdir: Path) -> Iterator[OpenTerminal]:
    opened: list[Terminal] = []

    def open_terminal(*words: object, **more: str) -> Terminal:
        opened.append(Terminal(environ | more, workdir, words))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.process.kill()
        each.process.wait()
        os.close(each.master)
