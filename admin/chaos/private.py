"""The private system of a campaign: `bamboo up` in a folder of its own, behind networks that can be made bad."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import Unavailable
from ...server.serve import usable_port
from ..state import StateFolder
from ..supervisor import python
from .proxy import Proxy, database_behind

LEASE, SENT = "BAMBOO_SERVER__LEASE_SECONDS", "BAMBOO_SERVER__SENT_SECONDS"
#: Leases so short that a campaign sees them end, and pauses so short that everything is there to be killed again.
QUICK = {
    LEASE: "8",
    "BAMBOO_SERVER__HEARTBEAT_SECONDS": "1",
    SENT: "4",
    "BAMBOO_MASTER__LEASE_SECONDS": "4",
    "BAMBOO_MASTER__RESTART_SECONDS": "2",
    "BAMBOO_DAEMON__LEASE_SECONDS": "4",
}
RESTART_SECONDS = 1.0
START_SECONDS = 60.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.1


@dataclass
class PrivateSystem:
    """Started, started again when it was killed as a whole, and stopped. Nothing of the environment's configuration
    reaches it."""

    folder: Path
    database_url: str | None
    n_pilots: int
    environ: Mapping[str, str] = field(default_factory=dict)  #: what its processes are told besides
    port: int = field(init=False)
    pilots: Proxy = field(init=False)
    clients: Proxy = field(init=False)
    database: Proxy | None = None  #: before the database, if it is one that is reached over a network
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "empty.cfg").touch()
        self.port = usable_port("127.0.0.1", 0)
        self.pilots, self.clients = Proxy(("127.0.0.1", self.port)), Proxy(("127.0.0.1", self.port))
        self._url_of_parts = self.database_url
        if self.database_url and self.database_url.startswith("postgresql"):
            self.database, self._url_of_parts = database_behind(self.database_url)

    @property
    def networks(self) -> dict[str, Proxy]:
        """All networks, by what is said of them."""
        there = {"pilots' network": self.pilots, "clients' network": self.clients, "database's network": self.database}
        return {name: network for name, network in there.items() if network is not None}

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.folder / "state")

    @property
    def engine_url(self) -> str:
        """The database's, past its network."""
        return self.database_url or self.state.sqlite_url

    def start(self) -> None:
        """Start it and wait until the server can work; raises `Unavailable`."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline or (self.process is not None and self.process.poll() is not None):
                raise Unavailable("the private system does not start", hint=f"see {self.folder / 'up.out'}")
            time.sleep(LOOK_SECONDS)

    def launch(self) -> None:
        """Start it, without waiting for anything."""
        options = ["--state", str(self.state.root), "--port", str(self.port), "--pilots", str(self.n_pilots)]
        options += ["--public-url", self.pilots.url, "--restart-seconds", str(RESTART_SECONDS)]
        options += ["--db", self._url_of_parts] if self._url_of_parts else []
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("BAMBOO_", "PANDA_"))}
        with (self.folder / "up.out").open("ab") as output:
            self.process = subprocess.Popen(
                python("bamboo", "up", *options),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**clean, **QUICK, **self.environ, "BAMBOO_CONFIG": str(self.folder / "empty.cfg")},
                cwd=self.folder,
                start_new_session=True,
            )

    def revive(self) -> None:
        """Start it again if it is gone as a whole."""
        if self.process is not None and self.process.poll() is not None:
            self.launch()

    def is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.port}/readyz"
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
        return False

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid if self.process is not None else 0

    def stop(self) -> int:
        """Stop it in order; its exit status, or -9 when it had to be killed."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close(self) -> None:
        """Kill what still runs, and end the networks."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for network in self.networks.values():
            network.stop()
