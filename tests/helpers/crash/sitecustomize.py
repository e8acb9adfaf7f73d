"""Crash points: put this folder into PYTHONPATH, and each of our processes can be killed at its commits and sendings.

Python imports a module of this name when it starts. With CRASH_POINTS=FOLDER in the environment each point is noted in
FOLDER/seen, a line each. A process that comes to a point of which there is a file in FOLDER/armed (named by its hash)
takes the file to FOLDER/fired, which only one can, and kills itself. Standard library only, as pilots are.

A point is `KIND: what: before` or `...: after`: the kind of process, then which function commits, which function sends
which request, or which request is answered. `after` a request means that nothing was read of the answer yet.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.abc
import importlib.machinery
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = os.environ.get("CRASH_POINTS", "")
#: What is said of a process by its command line; whoever else has a point is a client.
KINDS = {"bamboo server": "server", "bamboo jedi": "jedi", "bamboo daemon": "daemon", "bamboo.pilot": "pilot"}
#: Modules and functions that commit or send for others.
PASSED_OVER = (
    "admin/database.py",
    "client/api.py",
    "client/transport.py",
    "core/backoff.py",
    "daemon/context.py",
    "pilot/report.py _send",
    "pilot/server_calls.py",
    "pilot/transport.py",
    "server/context.py",
    "sql/engine.py",
    "tests/",
)
READING = "sql/engine.py reading"
#: What is asked over and over only to see whether the server works.
NOT_COUNTED = "/readyz"


def name_of(point: str) -> str:
    """The name of the file that arms a point."""
    return hashlib.sha256(point.encode()).hexdigest()


def reach(what: str, moment: str) -> None:
    """Be at a point: note it, and die if it is armed."""
    point = f"{_kind()}: {what}: {moment}"
    with Path(FOLDER, "seen").open("a") as sink:
        sink.write(f"{point}\n")
    name = name_of(point)
    try:
        Path(FOLDER, "armed", name).rename(Path(FOLDER, "fired", name))
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _kind() -> str:
    command = Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode()
    if " up " in command:
        return "supervisor"
    return next((kind for words, kind in KINDS.items() if words in command), "client")


def _caller() -> str:
    """The innermost function of ours that does not work for others; nothing for a transaction that only reads."""
    package = sys.modules.get("bamboo")
    root = f"{Path(str(package.__file__)).parent}/" if package is not None else "?"
    frame = sys._getframe(2)
    while frame.f_back is not None:
        module = frame.f_code.co_filename
        where = f"{module.removeprefix(root)} {frame.f_code.co_name}"
        if where == READING:
            return ""
        if module.startswith(root) and not where.startswith(PASSED_OVER):
            return where
        frame = frame.f_back
    return "?"


def _request(method: str, path: str) -> str:
    """A request without what differs from one to the next."""
    plain = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{2,}|(?<=/)\d+(?=/|$)", "N", path.partition("?")[0])
    return f"{method} {plain}"


def _patch_sending() -> None:
    connection = http.client.HTTPConnection
    begin, answer = connection.putrequest, connection.getresponse

    def putrequest(self: Any, method: str, url: str, *args: Any, **options: Any) -> None:
        self.crash_point = f"{_request(method, url)} by {_caller()}"
        reach(self.crash_point, "before")
        begin(self, method, url, *args, **options)

    def getresponse(self: Any, *args: Any, **options: Any) -> Any:
        reach(self.crash_point, "after")
        return answer(self, *args, **options)

    connection.putrequest, connection.getresponse = putrequest, getresponse  # type: ignore[method-assign]


def _patch_commits(module: ModuleType) -> None:
    commit = module.DefaultDialect.do_commit
    changes: dict[int, int] = {}

    def do_commit(self: Any, connection: Any) -> None:
        total = getattr(connection, "total_changes", None)  # SQLite's: a transaction that wrote nothing is no point
        before = changes.get(id(connection), 0)
        changes[id(connection)] = total or 0
        where = "" if total is not None and total == (before if before <= total else 0) else _caller()
        if not where:
            commit(self, connection)
            return
        what = f"commit in {where}"
        reach(what, "before")
        commit(self, connection)
        reach(what, "after")

    module.DefaultDialect.do_commit = do_commit


def _patch_answers(module: ModuleType) -> None:
    serve = module.Gateway.__call__

    async def call(self: Any, scope: Any, protocol: Any) -> None:
        if scope.path == NOT_COUNTED:
            await serve(self, scope, protocol)
            return
        await serve(self, scope, _Answering(protocol, f"answer to {_request(scope.method, scope.path)}"))

    module.Gateway.__call__ = call


class _Answering:
    """The protocol of one request, with points around the answer."""

    def __init__(self, protocol: Any, what: str) -> None:
        self._protocol = protocol
        self._what = what

    def __call__(self) -> Any:
        return self._protocol()

    def __aiter__(self) -> Any:
        return self._protocol.__aiter__()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        if not name.startswith("response_"):
            return found

        def respond(*args: Any) -> Any:
            reach(self._what, "before")
            transport = found(*args)
            reach(self._what, "after")
            return transport

        return respond


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "sqlalchemy.engine.default": _patch_commits,
    "bamboo.server.gateway": _patch_answers,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Patches modules when they are loaded."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                PATCHES[fullname](module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if FOLDER:
    _patch_sending()
    sys.meta_path.insert(0, _Finder())
