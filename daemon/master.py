"""The daemon's master: hands due chores to worker processes and keeps those alive (manual ch. 11).

It has no connection to the database and runs no chore's code, so that nothing a chore does can harm it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType

from ..core.errors import BadSettings, Fault
from ..core.process import die_with_parent, share_memory
from ..core.reload import Reload, ignore
from ..core.settings import Settings
from ..plugins.manager import only_built_in
from . import chore as chores
from .chore import Chore
from .messages import Order, Outcome
from .schedule import Planned, due
from .worker import Tools, Worker, open_tools

log = logging.getLogger(__name__)

#: Workers that have not ended their transaction this long after SIGTERM are killed.
STOP_SECONDS = 5.0
#: A run hangs when it takes this many periods, and longer than `round_seconds` of [master].
HANGS_PERIODS = 10
#: A worker that died is not replaced sooner, so that one that dies at once does not keep a core busy.
RESPAWN_SECONDS = 0.5
#: All that the master hears.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: When the machine has no room for another process, it is asked again after this.
NO_ROOM_SECONDS = 5.0


@dataclass
class Crew:
    """A worker process as the master sees it. `run` is what it does now."""

    process: ForkProcess
    pipe: Connection
    owner: str
    retire_at: float
    run: Planned | None = None
    retiring: bool = False


class Master:
    """The scheduler. `run()` returns after SIGTERM or SIGINT, or with other settings, when no worker is left."""

    def __init__(
        self,
        planned: Sequence[Chore],
        settings: Settings,
        database_url: str,
        owner: str,
        read_again: Callable[[], Settings] | None = None,
    ) -> None:
        now = time.monotonic()
        self.planned = {chore.name: Planned(chore, due_at=now) for chore in planned}
        self.settings = settings
        self.database_url = database_url
        self.owner = owner
        self.crew: list[Crew] = []
        self._inherited: Tools | None = None
        self._n_spawned = 0
        self._spawn_at = now
        self._stopping = False
        self._waker, self._wake = os.pipe()
        self._reload = Reload(read_again, _try, self._wake_up) if read_again else None

    def run(self) -> Settings | None:
        """Keep the chores running until told to stop, or until there are other settings, which it returns.

        Signals wait when it returns, for the master that comes next.
        """
        os.set_blocking(self._wake, False)
        if only_built_in(self.settings):  # other people's plugins are loaded by each worker for itself
            self._inherited = open_tools(self.settings, self.database_url)
        share_memory()
        before = {number: signal.signal(number, self._on_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        if self._reload:
            self._reload.listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        following: Settings | None = None
        try:
            while not self._stopping and following is None:
                now = time.monotonic()
                self._tend(now)
                self._hand_out(now)
                self._listen(self._next_at() - time.monotonic())
                following = self._reload.settings() if self._reload else None
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._waker)
            os.close(self._wake)
        return None if self._stopping else following

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._wake_up()

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake, b".")

    def _tend(self, now: float) -> None:
        """Let workers that are old enough end, kill those that hang, replace those that are gone."""
        for one in self.crew:
            if one.retiring:
                continue
            if one.run is not None:
                self._watch(one, one.run, now)
            elif now >= one.retire_at:
                self._retire(one)
        while now >= self._spawn_at and self._n_working < self.settings.daemon.n_proc:
            try:
                self._spawn(now)
            except OSError as error:  # too many processes or open files, or no memory
                self._spawn_at = now + NO_ROOM_SECONDS
                log.error("no worker could be started", extra={"event": "no_worker", "why": str(error)})

    @property
    def _n_working(self) -> int:
        return sum(not one.retiring for one in self.crew)

    def _watch(self, one: Crew, run: Planned, now: float) -> None:
        if run.overruns(now):
            run.overrun_told = True
            log.warning(
                "run takes longer than its period",
                extra={"event": "overrun", "chore": run.chore.name, "period_seconds": run.chore.period_seconds},
            )
        if now >= self._hangs_at(run):
            log.error("run hangs: its worker is killed", extra={"event": "run_hangs", "chore": run.chore.name})
            one.retiring = True
            one.process.kill()

    def _hangs_at(self, run: Planned) -> float:
        """When a run has taken so long that it will not end: it may hold locks that others wait for."""
        limit = max(self.settings.master.round_seconds, HANGS_PERIODS * run.chore.period_seconds)
        return (run.began_at or 0.0) + limit

    def _retire(self, one: Crew) -> None:
        one.retiring = True
        with suppress(OSError):
            one.pipe.send(None)

    def _spawn(self, now: float) -> None:
        self._n_spawned += 1
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe()
        owner = f"{self.owner}/{self._n_spawned}"
        worker = Worker(
            {name: one.chore for name, one in self.planned.items()},
            self.settings,
            self.database_url,
            owner,
            self._inherited,
        )
        inherited = [ours, *(one.pipe for one in self.crew)]
        process = fork.Process(target=_work, args=(worker, theirs, inherited, os.getpid()), name=f"worker {owner}")
        process.start()
        theirs.close()
        self.crew.append(Crew(process, ours, owner, retire_at=now + self.settings.daemon.proc_lifetime))

    def _hand_out(self, now: float) -> None:
        free = [one for one in self.crew if one.run is None and not one.retiring]
        for run, one in zip(due(self.planned.values(), now), free, strict=False):
            order = Order(run.chore.name, run.continues, run.dead_owner)
            with suppress(OSError):  # it has died: its sentinel says so, and another gets the order
                one.pipe.send(order)
                run.begin(now)
                one.run = run

    def _next_at(self) -> float:
        """When there is something to do even if no worker speaks."""
        busy = [one.run for one in self.crew if one.run is not None and not one.retiring]
        idle = [one for one in self.crew if one.run is None and not one.retiring]
        moments = [moment for run in busy for moment in (run.overrun_at, self._hangs_at(run))]
        moments += [one.retire_at for one in idle]
        if idle:
            moments += [run.due_at for run in self.planned.values() if run.began_at is None]
        if self._n_working < self.settings.daemon.n_proc:
            moments.append(self._spawn_at)
        return min(moments, default=time.monotonic() + RESPAWN_SECONDS)

    def _listen(self, timeout_seconds: float) -> None:
        """Wait for answers, deaths and signals."""
        by_pipe = {one.pipe: one for one in self.crew}
        by_sentinel = {one.process.sentinel: one for one in self.crew}
        ready = set(wait([self._waker, *by_pipe, *by_sentinel], max(0.0, timeout_seconds)))
        for pipe in ready & by_pipe.keys():
            self._hear(by_pipe[pipe])  # type: ignore[index]
        for sentinel in ready & by_sentinel.keys():
            self._bury(by_sentinel[sentinel])  # type: ignore[index]

    def _hear(self, one: Crew) -> None:
        try:
            outcome: Outcome = one.pipe.recv()
        except (EOFError, OSError):
            return  # it has died: its sentinel says so
        if one.run is not None:
            one.run.end(outcome, time.monotonic())
            one.run = None

    def _bury(self, one: Crew) -> None:
        now = time.monotonic()
        while one.run is not None and one.pipe.poll():  # it may have answered before it died
            before = one.run
            self._hear(one)
            if one.run is before:
                break
        one.process.join()
        if one.run is not None:
            one.run.crash(one.owner, now)
        if not one.retiring:
            self._spawn_at = now + RESPAWN_SECONDS
            log.warning(
                "worker died",
                extra={
                    "event": "worker_died",
                    "worker": one.owner,
                    "exit_code": one.process.exitcode,
                    "chore": one.run.chore.name if one.run else None,
                },
            )
        one.pipe.close()
        one.process.close()
        self.crew.remove(one)

    def _stop(self) -> None:
        """End all workers: they finish their transaction, or are killed after a grace."""
        for one in self.crew:
            self._retire(one)
            one.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for one in self.crew:
            one.process.join(max(0.0, deadline - time.monotonic()))
            if one.process.exitcode is None:
                log.warning("worker killed: it did not end", extra={"event": "worker_killed", "worker": one.owner})
                one.process.kill()
                one.process.join()
        self.crew.clear()


def _work(worker: Worker, pipe: Connection, inherited: Sequence[Connection], master_pid: int) -> None:
    die_with_parent(master_pid)
    ignore()
    for other in inherited:
        other.close()
    worker.serve(pipe)


def run_daemon(
    settings: Settings,
    database_url: str,
    *,
    owner: str | None = None,
    read_again: Callable[[], Settings] | None = None,
) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT; returns the exit code.

    `owner` names this daemon in the leases of chores with `sync`. Raises `BadSettings` before anything is started.
    At SIGHUP the settings are read again with `read_again`, and name the database then; when they can be used, runs
    end after their transactions, and the chores of the new settings begin.
    """
    following: Settings | None = settings
    try:
        while following is not None:
            settings = following
            following = _master(settings, database_url, owner, read_again).run()
            if following is not None:
                database_url = following.database.url or database_url
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    log.info("daemon stopped", extra={"event": "daemon_stopped"})
    return 0


def _master(
    settings: Settings, database_url: str, owner: str | None, read_again: Callable[[], Settings] | None
) -> Master:
    found = _plan(settings)
    if found.not_provided:
        missing = "; ".join(f"{name}: {why}" for name, why in found.not_provided.items())
        log.warning(
            "entries of [daemon] config are not run, because there is no such chore here: %s",
            missing,
            extra={"event": "chores_not_provided", "entries": sorted(found.not_provided)},
        )
    names = [chore.name for chore in found.chores]
    log.info("daemon started", extra={"event": "daemon_started", "chores": names, "n_proc": settings.daemon.n_proc})
    name = owner or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return Master(found.chores, settings, database_url, name, read_again)


def _plan(settings: Settings) -> chores.Plan:
    if not settings.daemon.enable:
        fault = Fault("[daemon] enable", "is False", "set `enable = True` to run the daemon on this machine")
        raise BadSettings("the daemon cannot start", [fault])
    return chores.plan(settings.daemon)


def _try(settings: Settings) -> None:
    """Raise what is wrong with settings: chores that are not there, plugins that cannot be loaded."""
    _plan(settings)
    open_tools(settings, settings.database.sqlalchemy_url() or "sqlite://")
