"""The scripted server and real pilots that work against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_SECONDS

from bamboo.tests.pilot.scripted_server import QUEUE, ScriptedServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    storage = tmp_path / "storage"
    storage.mkdir()
    scripted = ScriptedServer(storage)
    yield scripted
    scripted.close()


@pytest.fixture
def https_server(tmp_path: Path) -> Iterator[tuple[ScriptedServer, Path]]:
    """The scripted server behind TLS, and its certificate, which nobody else has signed."""
    certificate, both = tmp_path / "cert.pem", tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(both), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    both.write_bytes(both.read_bytes() + certificate.read_bytes())
    scripted = ScriptedServer(tmp_path, both)
    yield scripted, certificate
    scripted.close()


@pytest.fixture
def start_pilot(server: ScriptedServer, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a pilot for the scripted server with some more options, by the words `around`; it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *options: str, program: tuple[str, ...] = ("-m", "bamboo.pilot"), around: tuple[str, ...] = (), **env: Any
    ) -> subprocess.Popen[str]:
        fixed = ["--url", server.url, "-q", QUEUE, "-a", str(tmp_path / "work"), "-j", "user", "-v", "1"]
        with (tmp_path / f"pilot{len(started)}.err").open("w") as log:
            pilot = subprocess.Popen(
                [*around, sys.executable, *program, *fixed, *options], stderr=log, text=True, env={**os.environ, **env}
            )
        started.append(pilot)
        return pilot

    yield start
    for pilot in started:
        pilot.kill()
        pilot.wait()


@pytest.fixture
def run_pilot(start_pilot: Callable[..., subprocess.Popen[str]]) -> Callable[..., int]:
    """Run a pilot to its end; gives its exit code."""

    def run(*options: str, **more: Any) -> int:
        return start_pilot(*options, **more).wait(PATIENCE_SECONDS)

    return run
