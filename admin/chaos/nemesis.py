"""The nemesis: kills, stops and cuts off the parts of a private system, as a seed says."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from .postgres import OwnPostgres
from .private import PrivateSystem
from .proxy import Weather
from .site import SiteLoss
from .victims import KINDS, Process, of_kind

#: How often each kind is killed, against the others; `everything` is the supervisor, with which all parts go.
KILLED = {
    "pilot": 14,
    "keeper": 8,
    "payload": 10,
    "server worker": 14,
    "server": 8,
    "agent": 18,
    "jedi master": 8,
    "daemon worker": 14,
    "daemon master": 8,
    "everything": 2,
}
DATABASE = {"database": 4, "database backend": 6}
#: Whoever is stopped wakes up and believes that nothing happened; its lease may be over by then. Keepers and payloads
#: are not: nobody can end what is stopped together with its keeper, as nobody can on a machine that sleeps.
STOPPED = {
    "pilot": 6,
    "server worker": 6,
    "server": 2,
    "agent": 8,
    "jedi master": 2,
    "daemon worker": 6,
    "daemon master": 2,
}
#: Of all faults, those that are kills; of the others, those that are stops.
KILLS, STOPS = 0.8, 0.6
#: One fault of so many is the loss of a site: a small part, and yet some in each campaign.
SITE_EVERY, FIRST_SITE = 40, 5
#: What a network may be like; requests for work alone are lost with a site.
BAD_WEATHER = (Weather.HELD, Weather.CUT, Weather.SLOW, Weather.REPLIES_LOST, Weather.REPLIES_HELD)
LONGEST_STOP_SECONDS = 12.0
LONGEST_WEATHER_SECONDS = 6.0
WAKE_SECONDS = 0.05


@dataclass(frozen=True)
class Fault:
    """One thing to do: `which` in 0..1 chooses among the victims that there are then; it ends after `seconds`."""

    pause_seconds: float
    deed: str  #: kill, stop, lose (all pilots of a site), or the weather of a network
    kind: str
    which: float
    seconds: float = 0.0


def plan(seed: int, pace_seconds: float, *, networks: Sequence[str], with_database: bool) -> Iterator[Fault]:
    """Faults without end: the same for the same arguments, whatever the system does."""
    rng = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    killed = {**KILLED, **(DATABASE if with_database else {})}
    for number in count():
        pause, which = rng.uniform(0, 2 * pace_seconds), rng.random()
        if number % SITE_EVERY == FIRST_SITE:
            yield Fault(pause, "lose", "site", which)
        elif rng.random() < KILLS:
            yield Fault(pause, "kill", _one_of(rng, killed), which)
        elif rng.random() < STOPS:
            yield Fault(pause, "stop", _one_of(rng, STOPPED), which, rng.uniform(0.2, LONGEST_STOP_SECONDS))
        else:
            bad = rng.choice(BAD_WEATHER)
            yield Fault(pause, bad, rng.choice(networks), which, rng.uniform(0.2, LONGEST_WEATHER_SECONDS))


def _one_of(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


@dataclass
class Nemesis:
    """Carries out a plan. `done` counts what was really done, by deed and kind."""

    system: PrivateSystem
    postgres: OwnPostgres | None = None
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    jobs: Callable[[], Mapping[str, int]] = dict  #: how many there are, by state
    missed: int = 0
    _losses: list[SiteLoss] = field(default_factory=list)
    _ends: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def n_kills(self) -> int:
        return sum(n for (deed, _), n in self.done.items() if deed == "kill")

    def run(self, faults: Iterator[Fault], is_over: Callable[[], bool]) -> None:
        """Carry out faults until it is said to be over, then mend everything."""
        try:
            while not is_over():
                fault = next(faults)
                self._pass(fault.pause_seconds)
                self._do(fault)
        finally:
            self.mend()

    def mend(self) -> None:
        """End every fault: wake who is stopped, have fair weather, start what is gone."""
        for _, end in self._ends:
            end()
        for loss in self._losses:
            loss.end()
        self._ends.clear()
        self._losses.clear()
        self.system.revive()

    def _pass(self, seconds: float) -> None:
        """Let time pass, and end the faults whose time it is."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            due = [end for at, end in self._ends if at <= now]
            self._ends = [(at, end) for at, end in self._ends if at > now]
            for end in due:
                end()
            self._losses = [loss for loss in self._losses if not loss.go_on()]
            self.system.revive()
            if now >= until:
                return
            time.sleep(min(WAKE_SECONDS, until - now))

    def _do(self, fault: Fault) -> None:
        if fault.deed == "lose":
            self._losses.append(SiteLoss(self.system, self.jobs, self._on_kill))
            self.done[fault.deed, fault.kind] += 1
            return
        if fault.deed not in ("kill", "stop"):
            self._weather(fault.kind, Weather(fault.deed), fault.seconds)
            self.done[fault.deed, fault.kind] += 1
            return
        victims = self._victims(fault.kind)
        if not victims:
            self.missed += 1
            return
        victim = victims[int(fault.which * len(victims))].pid
        try:
            os.kill(victim, signal.SIGKILL if fault.deed == "kill" else signal.SIGSTOP)
        except ProcessLookupError:
            self.missed += 1
            return
        self.done[fault.deed, fault.kind] += 1
        if fault.deed == "stop":
            self._ends.append((time.monotonic() + fault.seconds, lambda: _wake(victim)))
        elif fault.kind.startswith("database") and self.postgres is not None:
            self.postgres.restart()

    def _victims(self, kind: str) -> list[Process]:
        if kind == "everything":
            return [Process(self.system.pid, 0, "")] if self.system.pid else []
        if kind in DATABASE:
            if self.postgres is None:
                return []
            return self.postgres.postmaster() if kind == "database" else self.postgres.backends()
        return of_kind(self.system.pid, kind) if kind in KINDS else []

    def _weather(self, kind: str, weather: Weather, seconds: float) -> None:
        network = self.system.networks[kind]
        network.change(weather)
        self._ends.append((time.monotonic() + seconds, lambda: network.change(Weather.FAIR)))

    def _on_kill(self) -> None:
        self.done["kill", "pilot"] += 1


def _wake(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
