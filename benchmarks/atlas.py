"""How many times ATLAS one server machine carries: open-loop load over so many running jobs.

1 ATLAS is 600 000 running jobs with a heartbeat every 30 minutes and 5 million jobs a week: 333 heartbeats a second,
and 8.3 each of claims, reports of a start, final reports with outputs, and requests for work where there is none.
Requests come when they come (Poisson), whether or not those before are answered; times count from then.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bamboo.core.states import JobState

from .database import settle
from .load import Request
from .measuring import LOAD_PROCESSES, Measured, Setting, bare_replies, measured, named, tell_errors, warm_up
from .pilots import claim_request, final_report, first_job, outputs_of, report_request, what_is_wrong
from .population import EMPTY_QUEUE, Population
from .report import Report
from .server import Server, running_daemon, running_server

RUNNING_JOBS = 600_000
HEARTBEAT_SECONDS = 1800
JOBS_PER_SECOND = 5_000_000 / (7 * 24 * 3600)
#: Requests per second of 1 ATLAS, by kind.
MIX: Mapping[str, float] = {
    "heartbeat": RUNNING_JOBS / HEARTBEAT_SECONDS,
    **dict.fromkeys(("claim", "running", "finished", "no work"), JOBS_PER_SECOND),
}
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
    daemon: bool = False  #: with `bamboo daemon`, which books what the pilots report


QUICK = Sizes(atlas=(0.1, 0.2), refine=0, running_jobs=5000, queues=20, seconds=2.0, connections=16)


@dataclass
class Mix:
    """The requests of one process: `rate` times 1 ATLAS. Heartbeats are those of jobs that nothing else happens to."""

    token: str
    queues: Sequence[str]
    rate: float
    seed: int
    beating: Sequence[range]  #: jobs that run on
    ending: range  #: jobs that end
    _claimed: deque[int] = field(default_factory=deque)

    def begin(self, at: float) -> None:
        self._dice = random.Random(self.seed)
        self._per_second = self.rate * sum(MIX.values())
        self._kinds, self._weights = list(MIX), list(MIX.values())
        self._claims = [claim_request(self.token, queue) for queue in self.queues]
        empty = claim_request(self.token, EMPTY_QUEUE)
        self._no_work = Request("no work", empty.payload)
        self._due = at
        self._enders = iter(self.ending)

    def next(self) -> tuple[float, Request] | None:
        self._due += self._dice.expovariate(self._per_second)
        return self._due, self._request(self._dice.choices(self._kinds, self._weights)[0])

    def _request(self, kind: str) -> Request:
        if kind == "claim":
            return self._dice.choice(self._claims)
        if kind == "no work":
            return self._no_work
        if kind == "running" and self._claimed:
            return report_request("running", self.token, self._claimed.popleft())
        if kind == "finished" and (pandaid := next(self._enders, None)):
            return final_report(self.token, pandaid, outputs_of(pandaid))
        return report_request("heartbeat", self.token, self._beating())

    def _beating(self) -> int:
        (some,) = self._dice.choices(self.beating, [len(one) for one in self.beating])
        return self._dice.choice(some)

    def answered(self, request: Request, status: int, body: bytes) -> str:
        if request.kind == "no work":
            return "" if status == 200 and b"No jobs" in body else f"HTTP {status} {body[:200]!r}"
        wrong = what_is_wrong(status, body)
        if request.kind == "claim" and not wrong:
            self._claimed.append(first_job(body))
        return wrong


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
        ending = self.fill(load, seconds + WARM_SECONDS)
        warm_up(self.server, self.setting.databases, self._queues, seed=self.setting.seed, connections=8)
        n_warm = int(len(ending) * WARM_SECONDS / (seconds + WARM_SECONDS))
        self.put(load, ending[:n_warm], WARM_SECONDS, self.setting.seed + 1)
        return self.put(load, ending[n_warm:], seconds, self.setting.seed)

    def put(self, load: float, ending: range, seconds: float, seed: int) -> Measured:
        """Put a load on the server; `ending` are the jobs that may end meanwhile."""
        token = self.server.pilot_token()
        sources = [
            Mix(token, self._queues, load / LOAD_PROCESSES, seed + at, self._beating, ending[at::LOAD_PROCESSES])
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
