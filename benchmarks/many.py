"""One set of server, JEDI and daemon against two over one database: whether rates add up, and that nothing is doubled.

Rates can only add up where there are processors for both sets. What tells whether they would is the processor time of
server (or JEDI) and database for each request (or job made): it should be the same with two sets.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import sqlalchemy as sa

from bamboo.client import connect
from bamboo.core.states import JobState
from bamboo.sql.engine import open_engine

from .database import Databases, settle
from .doubles import doubles
from .finish import n_holding
from .generate import NO_LIMIT, PERIOD, lift_limits, n_activated, parameters
from .load import Tally
from .measuring import LOAD_PROCESSES, Setting, measured, tell_errors, warm_up
from .population import Population
from .processes import cpu_seconds
from .report import Report
from .server import Server, running_daemon, running_jedi, running_server
from .sources import Lives

#: Tasks that are generated together, so that two Job Generators have one each.
N_TASKS = 2
#: Of the activated jobs, a load takes at most one part in so many: the queues must not run empty.
PART = 2
POLL_SECONDS = 0.1
#: A set that takes less processor time than this in a second has started and does nothing.
QUIET_SECONDS = 0.25
LONGEST_SECONDS = 1800.0


@dataclass(frozen=True)
class Sizes:
    jobs: int = 12_000  #: activated jobs that pilots may take
    files: int = 15_000  #: input files of each of two tasks, one job each
    queues: int = 50
    seconds: float = 10.0  #: of the pilots' load
    workers: int = 2  #: server processes of all sets together: more of them cost more for each request
    connections: int = 8  #: pilots at a time, over all servers
    rounds: int = 3  #: of one set and two sets in turn; figures are medians
    period: float = 5.0  #: seconds after which agents and the adder look again


QUICK = Sizes(jobs=1200, files=200, queues=4, seconds=1.5, rounds=1, period=0.2)


@dataclass
class Seen:
    """What was seen with some number of sets: figures of each round, and what went wrong in any."""

    lives: list[dict[str, float]] = field(default_factory=list)
    made: list[dict[str, float]] = field(default_factory=list)
    errors: Tally = field(default_factory=Tally)
    doubles: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Sets:
    """So many sets that run."""

    servers: list[Server]
    pids: Mapping[str, list[int]]  #: processes by part

    def spent(self) -> Counter[str]:
        """The processor time of each part up to now."""
        return Counter({part: cpu_seconds(pids) for part, pids in self.pids.items()})

    def are_quiet(self) -> bool:
        """Whether nothing is at work beside what looks for work now and then: it takes a second to say."""
        before = self.spent()
        time.sleep(1.0)
        return (self.spent() - before).total() < QUIET_SECONDS * len(self.servers)


def run(setting: Setting, sizes: Sizes) -> Report:
    """Rounds of one set and of two, each over a database of its own; the one that is first changes."""
    seen = {1: Seen(), 2: Seen()}
    for number in range(sizes.rounds):
        for n_sets in sorted(seen, reverse=number % 2 == 1):
            _measure(setting, sizes, n_sets, f"many-{number}-{n_sets}", seen[n_sets])
    report = Report(watched={"per s": 1, "cost µs": -1, "of one set": 1, "cost of one set": -1})
    _tell(report, "requests of lives", seen[1].lives, seen[2].lives)
    _tell(report, "jobs made", seen[1].made, seen[2].made)
    for n_sets, some in seen.items():
        n_doubled = some.doubles.total()
        report.add(f"{_sets(n_sets)}: doubles", {"errors": n_doubled + some.errors.errors.total()})
        tell_errors(report, _sets(n_sets), some.errors)
        report.notes += [f"{_sets(n_sets)}: {n} {what} are there more than once" for what, n in some.doubles.items()]
    report.details = {_sets(n_sets): {"lives": some.lives, "made": some.made} for n_sets, some in seen.items()}
    return report


def _measure(setting: Setting, sizes: Sizes, n_sets: int, name: str, seen: Seen) -> None:
    with setting.databases.new() as url, ExitStack() as stack:
        population = Population.start(url, seed=setting.seed, n_queues=sizes.queues, n_tasks=max(1, sizes.jobs // 1000))
        population.add_jobs(sizes.jobs, JobState.ACTIVATED)
        for task in range(N_TASKS):
            population.add_dataset(_dataset(task), sizes.files)
        lift_limits(population.engine)
        population.finish()
        settle(url)
        engine = open_engine(url, pool_size=1)
        stack.callback(engine.dispose)
        sets = _start(stack, setting.databases, sizes, n_sets, url, name)
        queues = [population.queue(at) for at in range(sizes.queues)]
        for server in sets.servers:
            warm_up(server, setting.databases, queues, seed=setting.seed, connections=sizes.connections)
        _run_lives(setting, sizes, sets, engine, queues, seen)
        _make_jobs(sizes, sets, engine, seen)
        seen.doubles.update(doubles(engine))


def _start(stack: ExitStack, databases: Databases, sizes: Sizes, n_sets: int, url: str, name: str) -> Sets:
    chores = {"adder": {"period": sizes.period, "loop": True}}
    sets = Sets([], {part: [] for part in ("server", "jedi", "daemon")})
    for number in range(n_sets):
        folder = databases.folder / f"{name}-{number}"
        server = stack.enter_context(running_server(url, folder, workers=max(1, sizes.workers // n_sets)))
        settings = {**server.settings, **NO_LIMIT, PERIOD: str(sizes.period)}
        sets.servers.append(server)
        sets.pids["server"].append(server.pid)
        sets.pids["jedi"].append(stack.enter_context(running_jedi(settings, folder)).pid)
        sets.pids["daemon"].append(stack.enter_context(running_daemon(settings, folder, chores)).pid)
    database = {"database": [databases.server_pid]} if databases.server_pid else {}
    return Sets(sets.servers, {**sets.pids, **database})


def _run_lives(setting: Setting, sizes: Sizes, sets: Sets, engine: sa.Engine, queues: list[str], seen: Seen) -> None:
    """Let pilots work at all servers, and the daemons book what they report."""
    _until(lambda: not n_holding(engine), "what came before to be booked")
    _until(sets.are_quiet, "all parts to have started")
    limit = sizes.jobs // PART // LOAD_PROCESSES
    sources = [
        Lives(sets.servers[at % len(sets.servers)].pilot_token(), queues, setting.seed + at, limit)
        for at in range(LOAD_PROCESSES)
    ]
    before = sets.spent()
    got = measured(sets.servers, setting.databases, sources, connections=sizes.connections, seconds=sizes.seconds)
    loaded = sets.spent() - before
    _until(lambda: not n_holding(engine), "the jobs to be booked")
    n, spent = max(1, got.tally.n), sets.spent() - before
    figures = {"per s": got.tally.rate(), "p50 ms": got.tally.p_ms(50), "p99 ms": got.tally.p_ms(99)}
    seen.lives.append({**figures, **_costs(loaded, n, "server", "database"), "daemon µs": 1e6 * spent["daemon"] / n})
    seen.errors.add(got.tally)


def _make_jobs(sizes: Sizes, sets: Sets, engine: sa.Engine, seen: Seen) -> None:
    """Submit two tasks through the servers in turn, and wait for all of their jobs; the rate is from the first on."""
    n_before, n = n_activated(engine), N_TASKS * sizes.files
    _until(sets.are_quiet, "all parts to have nothing to do")
    before = sets.spent()
    for task in range(N_TASKS):
        server = sets.servers[task % len(sets.servers)]
        client = connect(server.url, token=server.user_token())
        client.submit_parameters(parameters(f"user.bench.many{task}", _dataset(task)))
    _until(lambda: n_activated(engine) > n_before, "the first jobs")
    n_first, began = n_activated(engine) - n_before, time.monotonic()
    _until(lambda: n_activated(engine) >= n_before + n, "all jobs")
    seconds = time.monotonic() - began
    seen.made.append({"per s": (n - n_first) / seconds, **_costs(sets.spent() - before, n, "jedi", "database")})


def _costs(spent: Mapping[str, float], n: int, *parts: str) -> dict[str, float]:
    """Microseconds of processor time for each of so many things, by part and together."""
    by_part = {f"{part} µs": 1e6 * spent.get(part, 0.0) / n for part in parts}
    return {**by_part, "cost µs": sum(by_part.values())}


def _tell(report: Report, what: str, one: Sequence[Mapping[str, float]], two: Sequence[Mapping[str, float]]) -> None:
    """A row for one set, and one for two with the ratios to it; medians of the rounds."""
    report.add(f"{_sets(1)}: {what}", {name: median(some[name] for some in one) for name in one[0]})
    pairs = list(zip(one, two, strict=True))
    ratios = {
        ratio: median(with_two[name] / with_one[name] for with_one, with_two in pairs)
        for ratio, name in (("of one set", "per s"), ("cost of one set", "cost µs"))
        if all(with_one[name] for with_one, _ in pairs)  # a few jobs are made all at once
    }
    report.add(f"{_sets(2)}: {what}", {**{name: median(some[name] for some in two) for name in two[0]}, **ratios})


def _sets(n: int) -> str:
    return "1 set" if n == 1 else f"{n} sets"


def _dataset(task: int) -> str:
    return f"user.bench.many.in{task}"


def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something; ends the program when it does not come."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(POLL_SECONDS)
