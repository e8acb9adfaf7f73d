"""Running the web application in several processes, under granian (chosen by benchmarks/wsgi_servers.py).

The parent only holds the socket: it starts the workers, replaces those that die, and ends them in order on SIGTERM or
SIGINT. It makes the application once, for workers to share its memory, but opens no connection; a worker that is not
forked makes its own of the settings, which travel as a pickled object, so that no password stands in an environment or
a file. A worker is killed when its parent dies.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask

from ..core.errors import BadSettings, BadState, Fault
from ..core.process import die_with_parent, share_memory
from ..core.settings import Settings
from ..sql.clock import DatabaseClock
from ..sql.engine import open_engine
from .api.file_server import FRAMING_BYTES
from .app import create_app
from .auth.door import Door
from .context import context_of
from .fast_lane import FastLane
from .gateway import Gateway
from .identity import door_of
from .secret_box import SecretBox

log = logging.getLogger(__name__)

#: How long a worker may take to finish its requests before it is killed: now and then one hangs (granian's issue 875).
STOP_SECONDS = 5
RESPAWN_SECONDS = 1.0

Setup = Callable[[Settings], None]

#: The application by the process that has made it, for the workers forked from that one to share its memory.
_prepared: dict[int, Flask] = {}


def serve(settings: Settings, *, set_up: Setup | None = None, started: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Port 0 takes a free one. Raises `BadSettings`, and what `usable_port` does.

    `set_up` runs in each worker before anything else, to set up its logging; it must be importable by name. `started`
    is called with the server's address before the first worker starts.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces

    settings = _with_port(settings)
    section = settings.server
    # Faults are told here, once, and not by each worker again and again.
    Door.build(section)
    SecretBox.build(section.secrets_key)
    address = f"http://{section.host}:{section.port}"
    log.info("server starts", extra={"event": "server_starts", "address": address, "workers": section.workers})
    if started:
        started(address)
    granian = Granian(
        "bamboo.server",
        address=section.host,
        port=section.port,
        interface=Interfaces.RSGI,
        workers=section.workers,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        respawn_failed_workers=True,
        respawn_interval=RESPAWN_SECONDS,
        workers_kill_timeout=STOP_SECONDS,
    )
    _prepared[os.getpid()] = _application(settings)
    _forget_handlers_in_forks()
    share_memory()
    granian.serve(target_loader=partial(load_worker, settings, os.getpid(), set_up), wrap_loader=False)


def load_worker(settings: Settings, parent: int, set_up: Setup | None = None) -> Gateway:
    """What a worker serves: the application that its parent has made, over connections of its own."""
    # Killed, not asked: a worker that ends in order can hang for ever (granian issue 875), and nobody looks after it.
    die_with_parent(parent)
    if set_up:
        set_up(settings)
    section = settings.server
    section.cache_dir.mkdir(parents=True, exist_ok=True)
    app = _prepared.get(parent) or _application(settings)
    return Gateway(
        app,
        FastLane(context_of(app), door_of(app)),
        threads=section.threads,
        max_body_bytes=section.max_body_bytes,
        max_upload_bytes=section.max_sandbox_bytes + FRAMING_BYTES,
        spool_dir=section.cache_dir,
    )


def _forget_handlers_in_forks() -> None:
    """Let no signal get lost on a worker that has just been forked.

    The fork brings the parent's handlers along, which only take note: until granian sets the worker's own, a signal
    would go unheard. So it waits during the fork, and ends the worker.
    """
    numbers, parent = (signal.SIGTERM, signal.SIGINT), os.getpid()
    waiting: list[int] = []  #: the signals that wait for the end of a fork, in parent and child

    def before() -> None:
        if os.getpid() == parent:
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            waiting.extend(numbers)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waiting)
        waiting.clear()

    def in_child() -> None:
        for number in waiting:
            signal.signal(number, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)


def _application(settings: Settings) -> Flask:
    """The application over an engine that opens no connection before the first request."""
    database = settings.database
    # A thread uses one connection at a time.
    engine = open_engine(
        database.sqlalchemy_url(),
        pool_size=max(database.pool_size, settings.server.threads),
        statement_seconds=database.statement_seconds,
    )
    return create_app(settings, engine, DatabaseClock(engine))


def usable_port(host: str, port: int) -> int:
    """The port if a server can listen there, a free one for 0; raises `BadState` when another program has it.

    Raises `BadSettings` for an address that is not this machine's, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the workers do: else the last connections of a server that died would be in the way for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind(address)
            port_or_free = int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _in_use(host, port) from error
        fault = Fault("the server's address", f"{host}:{port}: {error.strerror}", "give another --host or --port")
        raise BadSettings("the server cannot start", [fault]) from error
    if port and _answers(address):
        raise _in_use(host, port)
    return port_or_free


def _answers(address: Any) -> bool:
    """Whether somebody listens there: another server would share its requests with us and nobody would notice."""
    try:
        socket.create_connection(address[:2], timeout=1).close()
    except OSError:
        return False
    return True


def _in_use(host: str, port: int) -> BadState:
    hint = "stop it, or choose another port with --port; 0 takes a free one"
    return BadState(f"another program listens at {host}:{port} already", hint=hint)


def _with_port(settings: Settings) -> Settings:
    """The settings with a port that can be used: a free one where they leave the choice to us."""
    section = settings.server
    port = usable_port(section.host, section.port)
    return settings.model_copy(update={"server": section.model_copy(update={"port": port})})
