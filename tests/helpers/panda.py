"""PanDA's own programs, unmodified, against a system of ours: its client's commands, and its pilot in a namespace.

They are installed by `make panda` into folders of their own: what they bring along must not mix with what we need.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from patience import PATIENCE_SECONDS, eventually
from systems import RunningSystem, descendants

import bamboo
from bamboo.admin.state import StateFolder
from bamboo.admin.tokens import key_folder
from bamboo.core.clock import utc_now
from bamboo.core.states import JobState
from bamboo.sql import tables as t

ROOT = Path(bamboo.__file__).parent
NEWEST_CLIENT = "2.2.0"
#: Each stands for a way to talk: the monitor, curl, curl with the newest commands (panda-client.md 12.1).
OLDER_CLIENTS = ("1.6.18", "1.7.6", "2.0.1")
PILOT = "3.7.0.36"
#: What the pilot is told to do more often than in production, in its own configuration (panda-pilot.md 14.2).
TIMERS = {"heartbeat": 5, "debug_heartbeat": 5, "update_sleep": 5}


def program_folder(name: str) -> Path:
    """Where `make panda` has put a program of PanDA's."""
    for folder in (Path(sys.prefix), ROOT / ".venv"):
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"{name} is not installed: `make panda` does it, and `make test` does it by itself")


def client_environment(system: RunningSystem) -> dict[str, str]:
    """The variables of `bamboo client env`, which is all that a user of PanDA's client needs."""
    told = system.run("client", "env", "--state", str(system.folder / "state"))
    assert told.returncode == 0, told.stderr
    words = [shlex.split(line) for line in told.stdout.splitlines()]
    assert all(word[0] == "export" and len(word) == 2 for word in words), told.stdout
    return dict(word[1].split("=", 1) for word in words)


@dataclass
class PandaClient:
    """One version of PanDA's client, for the user of a running system. `folder` is where its commands are typed."""

    system: RunningSystem
    folder: Path
    token: str
    version: str = NEWEST_CLIENT
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.programs = program_folder(f"panda-client-{self.version}")
        self.environ = {
            **client_environment(self.system),
            "PANDA_AUTH_ID_TOKEN": self.token,
            "PANDA_CONFIG_ROOT": str(self.folder.parent),
            # a clean environment: nothing of the tests' own may help
            "PATH": f"{self.programs / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            # the folder with functions.sh, which the launchers read: pip leaves it out of the older versions
            "PANDA_SYS": str(program_folder(f"panda-client-{NEWEST_CLIENT}")),
            "PANDA_PYTHON_EXEC": str(self.programs / "bin" / "python"),
            "HOME": str(self.folder.parent),
            **self.more,
        }

    def __call__(self, *command: str, stdin: str | None = None) -> str:
        """What a command prints, on both streams. Its exit status says little: many commands end with 0 always."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            input=stdin or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            start_new_session=True,  # pbook may kill its whole process group (panda-client.md 8)
        )
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def prun(self, *options: str) -> int:
        """Submit a task; returns its id."""
        told = self("prun", *options)
        found = re.search(r"jediTaskID=(\d+)", told)
        assert found, told
        return int(found[1])

    def pbook(self, *words: str) -> str:
        """What a pbook command prints."""
        return self("pbook", *words)

    def python(self, source: str) -> str:
        """What a script prints that uses PanDA's Python modules."""
        return self(str(self.programs / "bin" / "python"), "-c", source)


@dataclass
class PandaPilot:
    """PanDA's pilot with one slot, in a PID namespace of its own: it kills processes that are not its (14.1)."""

    system: RunningSystem
    folder: Path
    queue: str = "LOCAL"
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> PandaPilot:
        """Start it, as a site would: documents from our server, transforms through the proxy variable (12.1 a)."""
        launch = self.folder / "launch"
        lay_out_pilot(launch)
        work = self.folder / "work"
        work.mkdir()
        with (self.folder / "pilot.out").open("wb") as sink:
            self.process = subprocess.Popen(
                [*_namespace(), sys.executable, "-W", "ignore", "pilot.py", *self._options(work)],
                cwd=launch,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        return self

    def _options(self, work: Path) -> list[str]:
        host, _, port = self.system.url.rpartition(":")
        options = ["--pilot-user", "generic", "-q", self.queue, "-j", "user", "-i", "PR", "-w", "generic"]
        options += ["--url", host, "-p", port, "-t", "-d", "--use-rucio-traces", "False", "--lifetime", "3600"]
        options += ["--queuedata-url", f"{self.system.url}/cache/schedconfig/{{pandaqueue}}.all.json"]
        options += ["--storagedata-url", f"{self.system.url}/cache/ddmendpoints.json"]
        options += ["--input-destination-dir", str(self.system.folder / "state" / "storage")]
        return [*options, "-a", str(work), "--cleanup", "False", *self.options]

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "USER": "pilot",
            "PILOT_NOKILL": "1",
            "LOCAL_AGIS_SCHEDCONF": f"{self.system.url}/cache/schedconfig/pandaqueues.json",
            "HARVESTER_PILOT_CONFIG": str(self._configuration()),
            "http_proxy": self.system.url,
            "no_proxy": "127.0.0.1,localhost",
            **pilot_credentials(self.system, self.folder, self.queue),
        }

    def _configuration(self) -> Path:
        """The pilot's own configuration with shorter timers."""
        text = (program_folder(f"panda-pilot-{PILOT}") / "pilot" / "util" / "default.cfg").read_text()
        for name, seconds in TIMERS.items():
            text, n_replaced = re.subn(rf"(?m)^{name}: .*$", f"{name}: {seconds}", text)
            assert n_replaced == 1, name
        path = self.folder / "pilot.cfg"
        path.write_text(text)
        return path

    @property
    def told(self) -> str:
        """What it has printed."""
        return (self.folder / "pilot.out").read_text(errors="replace")

    @property
    def has_asked(self) -> bool:
        """Whether it has asked for a job."""
        return "curl_getJob.config" in self.told

    def wait(self, seconds: float = 240) -> int:
        """Its exit status."""
        eventually(lambda: self.process.poll() is not None, "the pilot to end", seconds)
        return int(self.process.returncode)

    def kill(self) -> None:
        """SIGKILL for all of it at once, as when a machine vanishes."""
        self.process.kill()  # unshare takes the first process of the namespace with it, and that one all others
        self.process.wait()


def lay_out_pilot(folder: Path) -> None:
    """Put the pilot's program into a folder of its own, where it may write."""
    folder.mkdir(parents=True)
    for name in ("pilot.py", "pilot", "PILOTVERSION"):
        (folder / name).symlink_to(program_folder(f"panda-pilot-{PILOT}") / name)


def pilot_credentials(system: RunningSystem, folder: Path, queue: str) -> dict[str, str]:
    """The variables by which PanDA's pilot finds its token (panda-pilot.md 3), which is good for its queue alone."""
    keys = key_folder(StateFolder(system.folder / "state"))
    path = folder / "token"
    path.write_text(keys.issue("pilot", ("pilot",), now=utc_now(), days=1, queues=[queue]))
    return {"PANDA_AUTH_TOKEN": str(path), "PANDA_AUTH_ORIGIN": "bamboo"}


def token_of(system: RunningSystem, user: str, *roles: str) -> str:
    """A new token for a user of a system."""
    options = [word for role in roles for word in ("--role", role)]
    told = system.run("client", "token", "--state", str(system.folder / "state"), "--user", user, *options)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def _namespace() -> list[str]:
    """Makes a PID namespace around a command, which ends when this process ends."""
    as_user = [] if os.geteuid() == 0 else ["-U", "-r"]
    return ["setpriv", "--pdeathsig", "KILL", "unshare", "-p", "-f", "--mount-proc", "--kill-child", *as_user]


class Crew:
    """Starts a pilot of PanDA's for each job that waits at a queue, as Harvester would; at most `n_slots` at once."""

    def __init__(self, system: RunningSystem, engine: sa.Engine, n_slots: int, *, queue: str) -> None:
        self.pilots: list[PandaPilot] = []
        self._system, self._engine, self._n_slots, self._queue = system, engine, n_slots, queue
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Crew:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for pilot in self.pilots:
            pilot.kill()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            alive = [pilot for pilot in self.pilots if pilot.process.poll() is None]
            # a pilot needs a few seconds before it asks for a job
            n_wanted = self._n_waiting() - sum(not pilot.has_asked for pilot in alive)
            for _ in range(min(n_wanted, self._n_slots - len(alive))):
                folder = self._system.folder / "panda-pilots" / str(len(self.pilots))
                self.pilots.append(PandaPilot(self._system, folder, self._queue).start())

    def _n_waiting(self) -> int:
        waiting = (t.jobs.c.status == JobState.ACTIVATED, t.jobs.c.queue == self._queue)
        with self._engine.connect() as tx:
            return tx.scalar(sa.select(sa.func.count()).where(*waiting)) or 0

    def holder_of(self, word: str) -> PandaPilot | None:
        """The pilot that runs a process whose command has a word in it."""
        for pilot in self.pilots:
            if pilot.process.poll() is None and any(
                word in process.command for process in descendants(pilot.process.pid)
            ):
                return pilot
        return None
