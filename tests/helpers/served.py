"""The server in real processes, and requests to it that tell what became of them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from patience import PATIENCE_SECONDS, eventually

import bamboo

PROGRAM = Path(str(bamboo.__file__)).parent / "tests" / "server" / "serving.py"


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    address: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> set[int]:
        return {int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request over a connection of its own; raises `OSError` and `http.client.HTTPException`."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=PATIENCE_SECONDS)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"X-Bamboo-User": "alice", **sent})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, told, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False


@contextmanager
def served(url: str, cache: Path, *around: str, **section: Any) -> Iterator[Served]:
    """Serve a database with these settings of [server], started by the words `around`; ready when it is given."""
    given = json.dumps({"port": 0, "workers": 2, **section})
    command = [*around, sys.executable, str(PROGRAM), url, str(cache), given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            server = Served(process, process.stdout.readline().strip())
            eventually(server.is_ready, "the server")
            yield server
        finally:
            process.kill()


@dataclass
class Asking:
    """Threads that ask over and over, each as soon as it has its answer."""

    ask: Callable[[], Reply]
    n_threads: int = 4
    replies: list[Reply] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)  #: requests without an answer
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Asking:
        self._threads = [threading.Thread(target=self._go_on) for _ in range(self.n_threads)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, n: int = 20) -> None:
        """Wait until so many more have been answered, or lost."""
        seen = len(self.replies) + len(self.lost)
        eventually(lambda: len(self.replies) + len(self.lost) >= seen + n, f"{n} more requests")

    def statuses(self) -> set[int]:
        return {reply.status for reply in self.replies}

    def _go_on(self) -> None:
        while not self._stop.is_set():
            try:
                self.replies.append(self.ask())
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(error)


def all_at_once(asks: Sequence[Callable[[], Reply]], replies: list[Reply] | None = None) -> list[Reply]:
    """The answers to requests that are made at the same time, in the order in which they come."""
    replies = [] if replies is None else replies
    threads = [threading.Thread(target=lambda ask=ask: replies.append(ask())) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies
