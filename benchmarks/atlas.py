"""How many times ATLAS one server machine carries: open-loop load over so many running jobs.

1 ATLAS is 600 000 running jobs with a heartbeat every 30 minutes and 5 million jobs a week: 333 heartbeats a second,
and 8.3 each of claims, reports of a start, final reports with outputs, and requests for work where there is none.
Requests come when they come (Poisson), whether or not those before are answered; times count from then.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from bamboo.core.states import JobState

from .database import settle
from .measuring import LOAD_PROCESSES, Measured, Setting, bare_replies, measured, named, tell_errors, warm_up
from .population import EMPTY_QUEUE, Population
from .report import Report
from .server import Server, running_daemon, running_server
from .sources import JOBS_PER_SECOND, MIX, RUNNING_JOBS, Mix

#: What an operator promises.
LIMIT_MS = 50.0
#: More jobs are there to be claimed and ended than the load will want on average.
SPARE = 1.5
WARM_SECONDS = 3.0


@dataclass(frozen=True)
class Sizes:
    atlas: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  #: loads, one after the other, until one is too much
    refine: int = 2  #: halvings between the last load that was carried and the first that was not
    running_jobs: int = RUNNING_JOBS  #: for each ATLAS
    queues: int = 200
    seconds: float = 30.0  #: for each load
    workers: int = 2
    connections: int = 64
    attempt_tokens: bool = False  #: pilots report with the tokens that came with their jobs
    daemon: bool = False  #: with `bamboo daemon`, which books what the pilots report


QUICK = Sizes(atlas=(0.1, 0.2), refine=0, running_jobs=5000, queues=20, seconds=2.0, connections=16)


def run(setting: Setting, sizes: Sizes) -> Report:
    """Loads that grow until one is too much; then loads between."""
    report = Report(watched={"ATLAS": 1, "p99 ms": -1, "server µs": -1})
    with ExitStack() as stack:
        url = stack.enter_context(setting.databases.new())
        population = Population.start(url, seed=setting.seed, n_queues=sizes.queues, n_tasks=1000)
        stack.callback(population.close)
        server = stack.enter_context(running_server(url, setting.databases.folder / "atlas", workers=sizes.workers))
        if sizes.daemon:
            stack.enter_context(running_daemon(server.settings, server.folder))
        bare = bare_replies(server, setting.databases, connections=sizes.connections, seconds=sizes.seconds / 10)
        report.add("/livez, as fast as it goes", bare.figures(bare.tally.rate()))
        trial = Trial(setting, sizes, population, url, server, report)
        report.add("largest that was carried", {"ATLAS": largest(trial, sizes)})
    return report


def largest(trial: Trial, sizes: Sizes) -> float:
    """The largest load that was carried."""
    carried, too_much = 0.0, None
    for load in sizes.atlas:
        if not trial.carries(load):
            too_much = load
            break
        carried = load
    for _ in range(sizes.refine if too_much else 0):
        middle = (carried + (too_much or 0)) / 2
        carried, too_much = (middle, too_much) if trial.carries(middle) else (carried, middle)
    return carried


@dataclass
class Trial:
    """One server over a database that grows with the load."""

    setting: Setting
    sizes: Sizes
    population: Population
    url: str
    server: Server
    report: Report
    _beating: list[range] = field(default_factory=list)

    def carries(self, load: float) -> bool:
        """Whether a load is carried: no error, nothing left over, and the 99th percentile of all times in the limit."""
        got = self.under(load, self.sizes.seconds)
        offered = load * sum(MIX.values())
        figures = {"ATLAS": load, "offered per s": offered, **got.figures(got.tally.rate())}
        figures["generator late p99 ms"] = got.tally.late_p_ms(99)
        what = f"{load:g} ATLAS, {named(jobs=self._n_beating)}"
        self.report.add(what, figures)
        self.report.details[what] = got.tally.by_kind()
        tell_errors(self.report, what, got.tally)
        return not got.tally.errors and figures["p99 ms"] < LIMIT_MS and got.tally.rate() > 0.9 * offered

    def under(self, load: float, seconds: float) -> Measured:
        """Put a load on the server for some seconds, after a short while of the same."""
        warm_seconds = min(WARM_SECONDS, seconds)
        ending = self.fill(load, seconds + warm_seconds)
        warm_up(self.server, self.setting.databases, self._queues, seed=self.setting.seed, connections=8)
        n_warm = int(len(ending) * warm_seconds / (seconds + warm_seconds))
        self.put(load, ending[:n_warm], warm_seconds, self.setting.seed + 1)
        return self.put(load, ending[n_warm:], seconds, self.setting.seed)

    def put(self, load: float, ending: range, seconds: float, seed: int) -> Measured:
        """Put a load on the server; `ending` are the jobs that may end meanwhile."""
        token, key = self.server.pilot_token(), ""
        if self.sizes.attempt_tokens:
            key = self.server.keys.secrets_key.read_text().strip()
        sources = [
            Mix(
                token,
                self._queues,
                EMPTY_QUEUE,
                load / LOAD_PROCESSES,
                seed + at,
                self._beating,
                ending[at::LOAD_PROCESSES],
                key,
            )
            for at in range(LOAD_PROCESSES)
        ]
        return measured(
            self.server, self.setting.databases, sources, connections=self.sizes.connections, seconds=seconds
        )

    @property
    def _n_beating(self) -> int:
        return sum(map(len, self._beating))

    @property
    def _queues(self) -> list[str]:
        return [self.population.queue(at) for at in range(self.sizes.queues)]

    def fill(self, load: float, seconds: float) -> range:
        """See to it that there are the jobs that a load needs: returns those that will end."""
        missing = int(load * self.sizes.running_jobs) - self._n_beating
        if missing > 0:
            self._beating.append(self.population.add_jobs(missing, JobState.RUNNING, with_files=False))
        n = int(SPARE * JOBS_PER_SECOND * load * seconds) + 100
        self.population.add_jobs(n + len(self._queues) * 20, JobState.ACTIVATED)
        ending = self.population.add_jobs(n, JobState.RUNNING)
        self.population.bring_in_line()
        settle(self.url)
        return ending
