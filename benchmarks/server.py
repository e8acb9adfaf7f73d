"""Real servers to measure: `bamboo server` as operators start it, with tokens, and what its processes use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bamboo.admin.tokens import ISSUER, KeyFolder
from bamboo.core.clock import utc_now

READY_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    url: str
    pid: int
    keys: KeyFolder
    folder: Path
    settings: Mapping[str, str]  #: what its processes find in their environment

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def pilot_token(self) -> str:
        return self.keys.issue("bench-pilot", ("pilot",), now=utc_now(), days=1)

    def user_token(self) -> str:
        return self.keys.issue("bench", ("production", "admin"), now=utc_now(), days=1)


@contextmanager
def running_server(
    url: str, folder: Path, *, workers: int = 2, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`bamboo server` on a free port over a database, with so many processes; it takes tokens only."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = KeyFolder(folder / "auth")
    keys.prepare(utc_now())
    settings = {**environment(url, folder, keys), "BAMBOO_SERVER__WORKERS": str(workers), **(environ or {})}
    with running_part("server", settings, folder, "--port", "0") as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        said = process.stdout.readline()
        if not said.startswith("serving at "):
            raise SystemExit(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")
        server = Server(said.removeprefix("serving at ").strip(), process.pid, keys, folder, settings)
        _wait_until_ready(server.url)
        yield server


@contextmanager
def running_daemon(
    settings: Mapping[str, str], folder: Path, chores: Mapping[str, object] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`bamboo daemon` with its usual chores, or those that are given."""
    config = {"BAMBOO_DAEMON__CONFIG": json.dumps(chores)} if chores else {}
    with running_part("daemon", {**settings, "BAMBOO_DAEMON__ENABLE": "true", **config}, folder) as process:
        yield process


@contextmanager
def running_jedi(settings: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`bamboo jedi`."""
    with running_part("jedi", settings, folder) as process:
        yield process


def environment(url: str, folder: Path, keys: KeyFolder) -> dict[str, str]:
    """The settings of all parts over a database."""
    return {
        "BAMBOO_DATABASE__URL": url,
        "BAMBOO_SERVER__CACHE_DIR": str(folder / "cache"),
        "BAMBOO_SERVER__TOKEN_AUTHTYPE": "oidc",
        "BAMBOO_SERVER__TOKEN_KEYS": str(keys.trusted_keys),
        "BAMBOO_SERVER__TOKEN_ISSUER": ISSUER,
        "BAMBOO_SERVER__AUTH_POLICIES": str(keys.policies),
        "BAMBOO_SERVER__SECRETS_KEY": f"file:{keys.secrets_key}",
    }


@contextmanager
def running_part(
    name: str, settings: Mapping[str, str], folder: Path, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """`bamboo <name>` as a process of its own that is told to end at the end; its log is <name>.log."""
    command = [sys.executable, "-m", "bamboo", name, *options]
    with (folder / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as reply:  # noqa: S310 - our own address
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit(f"the server at {url} did not get ready")
