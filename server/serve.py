"""Running the web application in several processes, under granian (chosen by benchmarks/wsgi_servers.py).

The parent only holds the socket: it starts the workers, replaces those that die, and ends them in order on SIGTERM or
SIGINT. It makes the application once, for workers to share its memory, but opens no connection; a worker that is not
forked makes its own of the settings, which travel as a pickled object, so that no password stands in an environment or
a file. A worker is killed when its parent dies.

SIGHUP has the parent read the configuration anew and replace the workers one after the other, each when the next one
serves, so that no request is lost. A configuration that cannot be used is told in the log, and the old one stays.
"""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask

from ..core.errors import BadSettings, BadState, Fault, Unavailable
from ..core.process import allow_open_files, die_with_parent, share_memory
from ..core.settings import ServerSection, Settings
from ..sql import migrate
from ..sql.clock import DatabaseClock
from ..sql.engine import open_engine
from .api.file_server import FRAMING_BYTES
from .app import create_app
from .auth.door import Door
from .context import context_of
from .fast_lane import FastLane
from .figures import folder_of, forget
from .gateway import END_STREAMS, Gateway
from .identity import door_of
from .secret_box import SecretBox

if TYPE_CHECKING:
    from granian.server.mp import MPServer

log = logging.getLogger(__name__)

#: How long a worker may take to finish its requests before it is killed: now and then one hangs (granian's issue 875).
STOP_SECONDS = 5
RESPAWN_SECONDS = 1.0
#: Connections that the workers hold together, besides those of streams. Who is beyond waits to be accepted.
CONNECTIONS = 1024
#: Files of one worker besides the sockets of streams.
OTHER_FILES = 512

Setup = Callable[[Settings], None]

#: What belongs to the socket, and changes only when the server is started anew.
_OF_THE_SOCKET = ("host", "port", "workers")


@dataclass(frozen=True)
class Prepared:
    """An application and what it was made of."""

    settings: Settings
    app: Flask


#: The application by the process that has made it, for the workers forked from that one to share its memory.
_prepared: dict[int, Prepared] = {}


def serve(
    settings: Settings,
    *,
    set_up: Setup | None = None,
    started: Callable[[str], None] | None = None,
    read_again: Callable[[], Settings] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Port 0 takes a free one. Raises `BadSettings`, and what `usable_port` does.

    `set_up` runs in each worker before anything else, to set up its logging; it must be importable by name. `started`
    is called with the server's address before the first worker starts, `read_again` at each SIGHUP.
    """
    settings = _with_port(settings)
    section = settings.server
    # Faults are told here, once, and not by each worker again and again.
    Door.build(section)
    SecretBox.build(section.secrets_key)
    address = f"http://{section.host}:{section.port}"
    log.info("server starts", extra={"event": "server_starts", "address": address, "workers": section.workers})
    if started:
        started(address)
    granian = _granian(settings)
    granian.on_reload(lambda: _reload(read_again))
    forget(folder_of(section.cache_dir, section.host, section.port))
    _prepared[os.getpid()] = Prepared(settings, _application(settings))
    _forget_handlers_in_forks()
    share_memory()
    granian.serve(target_loader=partial(load_worker, settings, os.getpid(), set_up), wrap_loader=False)


def _granian(settings: Settings) -> MPServer:
    from granian.constants import HTTPModes, Interfaces
    from granian.net import SocketSpec
    from granian.server.mp import MPServer

    class Lasting(MPServer):
        """Each worker's place has a socket that outlives the worker: who waits there is served by the next one."""

        def _init_shared_socket(self) -> None:
            super()._init_shared_socket()  # type: ignore[no-untyped-call]
            self._lasting = []
            if multiprocessing.get_start_method() == "fork":  # else a worker opens its own
                spec = SocketSpec(self.bind_addr, self.bind_port, self.backlog)
                self._lasting = [spec.build() for _ in range(self.workers)]
                self._ssp = None

        def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:  # type: ignore[override]
            if self._lasting:
                self._shd = self._lasting[idx]  # type: ignore[assignment]
            worker = super()._spawn_worker(idx, target, callback_loader)
            worker.terminate = partial(_end, worker)  # type: ignore[method-assign]
            return worker

    section = settings.server
    return Lasting(
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
        backpressure=CONNECTIONS // section.workers + section.max_streams + section.max_listening_pilots,
    )


def _end(worker: Any) -> None:
    """Ask a worker to end, and to close its streams, which it would wait for."""
    worker.interrupt_by_parent = True
    with suppress(OSError):  # it has ended already
        os.kill(worker.inner.pid, END_STREAMS)
    worker.inner.terminate()


def _reload(read_again: Callable[[], Settings] | None) -> None:
    """Prepare the application of the next workers; whatever is wrong, they get the one that there was."""
    before = _prepared[os.getpid()]
    if read_again is None:
        return
    try:
        _prepared[os.getpid()] = _prepared_anew(before.settings, read_again())
    except Exception as error:  # the server goes on, whatever it is
        log.exception(
            "the new configuration cannot be used: the old one stays",
            extra={"event": "reload_refused", "why": str(error)},
        )
    else:
        log.info("configuration read again", extra={"event": "reloaded"})


def _prepared_anew(before: Settings, settings: Settings) -> Prepared:
    """An application of new settings that can be used. Raises `BadSettings`, `BadState`, and errors of the database."""
    socket_of_before = {name: getattr(before.server, name) for name in _OF_THE_SOCKET}
    # A port that may be any is the one that there is.
    kept = [name for name, value in socket_of_before.items() if getattr(settings.server, name) not in (value, 0)]
    if kept:
        log.warning("changed only by a restart", extra={"event": "reload_kept", "keys": ", ".join(kept)})
    settings = settings.model_copy(update={"server": settings.server.model_copy(update=socket_of_before)})
    app = _application(settings)
    if settings.database != before.database:
        engine = context_of(app).engine
        try:
            problems = migrate.check(engine)
        except sa.exc.SQLAlchemyError as error:
            raise Unavailable(f"the new database cannot be used: {type(error).__name__}") from error
        finally:
            engine.dispose()  # no connection may be open when workers are forked
        if problems:
            raise BadState("; ".join(problems))
    return Prepared(settings, app)


def load_worker(settings: Settings, parent: int, set_up: Setup | None = None) -> Gateway:
    """What a worker serves: the application that its parent has made, over connections of its own."""
    # Killed, not asked: a worker that ends in order can hang for ever (granian issue 875), and nobody looks after it.
    die_with_parent(parent)
    prepared = _prepared.get(parent) or Prepared(settings, _application(settings))
    if set_up:
        set_up(prepared.settings)
    section, app = prepared.settings.server, prepared.app
    section.cache_dir.mkdir(parents=True, exist_ok=True)
    context_of(app).figures.share(folder_of(section.cache_dir, section.host, section.port))
    return Gateway(
        app,
        FastLane(context_of(app), door_of(app)),
        threads=section.threads,
        max_waiting=section.max_waiting,
        max_streams=section.max_streams,
        max_listening_pilots=_room_for_pilots(section),
        max_body_bytes=section.max_body_bytes,
        max_upload_bytes=section.max_sandbox_bytes + FRAMING_BYTES,
        spool_dir=section.cache_dir,
    )


def _room_for_pilots(section: ServerSection) -> int:
    """How many pilots may listen: as many as they are allowed to be, and as there are files for besides all else."""
    others, most = section.max_streams + OTHER_FILES, section.max_listening_pilots
    room = max(0, min(most, allow_open_files(others + most) - others))
    if room < most:
        what = {"event": "few_files", "wanted": others + most, "listening_pilots": room}
        log.warning("the limit of open files leaves room for fewer listening pilots (ulimit -Hn)", extra=what)
    return room


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
        lock_seconds=min(settings.server.lock_seconds, database.statement_seconds),
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
