"""Two clients, two pilots, two databases: which of the eight corners run a scenario."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from panda import PandaClient
from scenarios import SCENARIOS, Scenario, Site

CLIENTS = PILOTS = ("ours", "pandas")
DATABASES = ("sqlite", "postgres")
#: The queue that each pilot works for: a task is sent to a pilot by its site.
QUEUES = {"ours": "LOCAL", "pandas": "PANDA"}


class Corner(NamedTuple):
    client: str
    pilot: str
    database: str


def corners_of(number: int) -> tuple[Corner, ...]:
    """Where the scenario of this number is run, the slow corner first.

    With our pilot, which is quick, both clients submit it, each on another database; by turns, on which. PanDA's pilot
    takes twenty seconds for the shortest job and much of the machine: it runs each scenario once, the four pairs of
    client and database having their turns. So each scenario meets each client, pilot and database, and all eight
    corners are met by every four scenarios in a row.
    """
    slow = Corner(CLIENTS[number % 2], "pandas", DATABASES[number // 2 % 2])
    quick = [Corner(client, "ours", DATABASES[(number + at) % 2]) for at, client in enumerate(CLIENTS)]
    return (slow, *quick)


def matrix(database: str) -> Iterator[tuple[Scenario, Corner]]:
    """What is run on one database."""
    for number, scenario in enumerate(SCENARIOS.values()):
        yield from ((scenario, corner) for corner in corners_of(number) if corner.database == database)


class User(Protocol):
    """Alice, with one of the clients. `folder` is where she types."""

    folder: Path

    def submit(self, *options: str) -> int: ...

    def kill(self, task: int) -> None: ...

    def set_secrets(self, values: dict[str, str], files: dict[str, str]) -> None: ...

    def metadata(self, task: int) -> list[Any]: ...


@dataclass
class UserOfOurs:
    """She types `bamboo`."""

    site: Site
    folder: Path

    def _bamboo(self, *words: str, stdin: str = "") -> str:
        told = self.site.system.run(*words, environ={"BAMBOO_TOKEN": self.site.token}, input=stdin, cwd=self.folder)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def submit(self, *options: str) -> int:
        return int(self._bamboo("run", "-q", *options))

    def kill(self, task: int) -> None:
        self._bamboo("task", "kill", "--yes", str(task))

    def set_secrets(self, values: dict[str, str], files: dict[str, str]) -> None:
        for name, value in values.items():
            self._bamboo("secret", "set", name, stdin=f"{value}\n")
        for name, file in files.items():
            self._bamboo("secret", "set", name, "--file", str(self.folder / file))
        assert set(self._bamboo("secret", "list").split()) >= {*values}

    def metadata(self, task: int) -> list[Any]:
        found = json.loads(self._bamboo("task", "metadata", str(task)))
        return [told["user_job_metadata"] for told in found.values()]


@dataclass
class UserOfPandas:
    """She types `prun` and `pbook`."""

    site: Site
    folder: Path
    client: PandaClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = PandaClient(self.site.system, self.folder, self.site.token)

    def submit(self, *options: str) -> int:
        return self.client.prun(*options)

    def kill(self, task: int) -> None:
        assert "will be killed" in self.client.pbook("kill", str(task))

    def set_secrets(self, values: dict[str, str], files: dict[str, str]) -> None:
        for name, value in values.items():
            self.client.pbook("set_secret", name, value)
        for name, file in files.items():
            self.client.pbook("set_secret", name, file, "--is_file")
        listed = self.client.pbook("list_secrets")
        assert all(name in listed for name in values), listed

    def metadata(self, task: int) -> list[Any]:
        self.client.pbook("get_user_job_metadata", str(task), "metadata.json")
        return [told["user_job_metadata"] for told in json.loads((self.folder / "metadata.json").read_text()).values()]


USERS: dict[str, Callable[[Site, Path], User]] = {"ours": UserOfOurs, "pandas": UserOfPandas}
