"""The JEDI master: one per machine, starts the agents as processes, restarts what dies, stops them all (ch. 7.1.1)."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized
from threading import Event, Thread
from types import FrameType

import sqlalchemy as sa

from ..core.process import die_with_parent, share_memory
from ..core.reload import Reload, ignore
from ..core.service import run_service
from ..core.settings import Settings
from ..plugins.manager import only_built_in
from ..sql.changes import ChangeWatch
from ..sql.service_rounds import RoundNotes
from .agents import AGENTS, Agent, WatchDog
from .context import Context, open_context
from .rest import LONGEST_REST_SECONDS, Rest
from .task_agent import TaskAgent

log = logging.getLogger(__name__)

#: An agent that dies at once is not restarted faster than this.
RESTART_SECONDS = 1.0
#: One that lived this long is restarted at once when it dies.
HEALTHY_SECONDS = 60.0
#: How often the master looks whether an agent hangs.
LOOK_SECONDS = 5.0
#: The sign of life of an agent between two rounds: it may wait as long as it likes.
IDLE = math.inf
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: All that a master hears.
_SIGNALS = (*_STOP_SIGNALS, signal.SIGHUP)

_fork = multiprocessing.get_context("fork")  # agents share the memory of the loaded program; no connection is open


@dataclass
class Post:
    """A place for one agent process. `sign_of_life` is its monotonic clock at the start of its round, or `IDLE`."""

    section: str
    agent: type[Agent]
    place: int  #: among those for the same agent
    period_seconds: float
    sign_of_life: Synchronized[float]
    process: ForkProcess | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = field(default=0)


class Master:
    """Keeps one process for each post alive until it is told to stop, or to go on with other settings."""

    def __init__(self, settings: Settings, read_again: Callable[[], Settings] | None = None) -> None:
        self._settings = settings
        self._posts = [
            Post(section, agent, place, period, _fork.Value("d", 0.0))
            for section, agents in AGENTS.items()
            for agent in agents
            for place, period in enumerate(_periods(settings, section, agent), 1)
        ]
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._stopping = False
        self._shared: Context | None = None
        self._reload = Reload(read_again, _try, self._wake) if read_again else None

    def run(self) -> Settings | None:
        """Run until SIGTERM or SIGINT, or until there are other settings, which it returns; all agents are gone then.

        Signals wait when it returns, for the master that comes next.
        """
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        if self._reload:
            self._reload.listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._share()
        following: Settings | None = None
        log.info("master started", extra={"event": "master_started", "agents": len(self._posts)})
        try:
            while not self._stopping and following is None:
                self._start_due()
                sentinels = [post.process.sentinel for post in self._posts if post.process is not None]
                wait([*sentinels, self._wake_reader], timeout=self._patience())
                self._notice_deaths()
                self._kill_hanging()
                following = self._reload.settings() if self._reload else None
        finally:
            self._stop_agents()
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            os.close(self._wake_reader)
            os.close(self._wake_writer)
        log.info("master stopped", extra={"event": "master_stopped"})
        return None if self._stopping else following

    def _share(self) -> None:
        """Load what the agents have in common, once for all of them, and leave no connection open.

        Other people's plugins are loaded by each agent for itself: what they do must not reach the master.
        """
        if only_built_in(self._settings):
            self._shared = open_context(self._settings)
            try:
                for agent in {post.agent for post in self._posts}:
                    if issubclass(agent, TaskAgent):
                        agent(self._shared).warm_up()
            except sa.exc.SQLAlchemyError as error:  # the agents will meet it again, and wait until it is over
                log.warning("nothing warmed up", extra={"event": "not_warmed_up", "why": str(error)})
            self._shared.engine.dispose()
        share_memory()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def _patience(self) -> float:
        waiting = [post.restart_at - time.monotonic() for post in self._posts if post.process is None]
        return max(0.0, min([*waiting, LOOK_SECONDS, self._settings.master.round_seconds]))

    def _start_due(self) -> None:
        now = time.monotonic()
        for post in self._posts:
            if post.process is None and post.restart_at <= now:
                post.started_at = post.sign_of_life.value = now
                post.process = _fork.Process(
                    target=_be_agent, args=(post, self._settings, self._shared, os.getpid()), name=post.agent.name
                )
                # Until the agent has its own handlers a signal waits: it would be taken for one to the master.
                signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
                post.process.start()
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def _notice_deaths(self) -> None:
        for post in self._posts:
            if post.process is None or post.process.is_alive():
                continue
            lived = time.monotonic() - post.started_at
            post.failures = 0 if lived > HEALTHY_SECONDS else post.failures + 1
            longest = self._settings.master.restart_seconds
            pause = min(longest, RESTART_SECONDS * 2 ** max(0, post.failures - 2)) if post.failures > 1 else 0.0
            post.restart_at = time.monotonic() + pause
            if not self._stopping:
                log.error(
                    "an agent died and is started again",
                    extra={
                        "event": "agent_died",
                        "agent": post.agent.name,
                        "exit": post.process.exitcode,
                        "pause": pause,
                    },
                )
            post.process.close()
            post.process = None

    def _kill_hanging(self) -> None:
        limit = self._settings.master.round_seconds
        for post in self._posts:
            if post.process is not None and time.monotonic() - post.sign_of_life.value > limit:
                log.error("an agent hangs and is killed", extra={"event": "agent_hangs", "agent": post.agent.name})
                post.process.kill()
                post.sign_of_life.value = IDLE  # killed once is enough

    def _stop_agents(self) -> None:
        running = [post.process for post in self._posts if post.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._settings.master.stop_seconds
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
        for process in running:
            if process.is_alive():
                process.kill()
                process.join()


def _periods(settings: Settings, section: str, agent: type[Agent]) -> list[float]:
    """The period of each process that a section's `procConfig` asks for; one process when it says nothing.

    An entry that names a watchdog's mission asks for further processes that go on missions: the period in it is the
    mission's, and its lease keeps that (manual ch. 21.1).
    """
    entries = getattr(settings, section).procConfig
    usual = settings.master.period_seconds
    named = [entry for entry in entries if section == "watchdog" and entry.name]
    general = [entry for entry in entries if entry not in named]
    periods = [entry.period_seconds or usual for entry in general for _ in range(entry.n_processes)]
    more = sum(entry.n_processes for entry in named) if agent is WatchDog else 0
    return (periods if general else [usual]) + [usual] * more


class _Watched:
    """An agent whose rounds leave a sign of life."""

    def __init__(self, agent: Agent, sign_of_life: Synchronized[float]) -> None:
        self.name = agent.name
        self._agent = agent
        self._sign_of_life = sign_of_life

    def run_once(self) -> object:
        self._sign_of_life.value = time.monotonic()
        try:
            return self._agent.run_once()
        finally:
            self._sign_of_life.value = IDLE


def _be_agent(post: Post, settings: Settings, shared: Context | None, master_pid: int) -> None:
    """The life of an agent process: rounds until SIGTERM, which waits for the round that is going on."""
    die_with_parent(master_pid)
    stop = Event()
    ignore()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the master decides
    signal.signal(signal.SIGTERM, lambda number, frame: Thread(target=stop.set).start())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    context = shared or open_context(settings)
    agent = post.agent(context)
    may_rest = None
    if post.period_seconds < LONGEST_REST_SECONDS:
        may_rest = Rest(agent, ChangeWatch(context.engine), context.clock)
    notes = RoundNotes(context.engine, context.clock, section="jedi", place=post.place)
    watched = _Watched(agent, post.sign_of_life)
    run_service(watched, stop, period_seconds=post.period_seconds, may_rest=may_rest, note=notes.note)
    context.engine.dispose()


def _try(settings: Settings) -> None:
    """Raise what is wrong with settings: plugins that cannot be loaded, above all."""
    open_context(settings)


def run_jedi(settings: Settings, *, read_again: Callable[[], Settings] | None = None) -> int:
    """Run the master in the foreground; returns the exit status.

    At SIGHUP the settings are read again with `read_again`; when they can be used, the agents end after their rounds
    and those of the new settings begin.
    """
    following: Settings | None = settings
    try:
        while following is not None:
            following = Master(following, read_again).run()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return 0
