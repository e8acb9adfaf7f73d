"""How fast jobs are given out, and their lives reported, at a growing number of activated jobs."""

from __future__ import annotations

from dataclasses import dataclass

from bamboo.core.states import JobState

from .database import settle
from .measuring import LOAD_PROCESSES, Measured, Setting, bare_replies, measured, named, tell_errors, warm_up
from .population import Population
from .raw_sql import run_raw
from .report import Report
from .server import Server, running_server
from .sources import Lives

#: Of the activated jobs, each of the four loads takes at most one part in so many: the queues must not run empty.
PART = 6


@dataclass(frozen=True)
class Sizes:
    jobs: tuple[int, ...] = (10_000, 100_000, 1_000_000)  #: activated jobs, one measurement each
    queues: int = 200
    seconds: float = 15.0  #: for each load, or until it has taken its part of the jobs
    workers: int = 2  #: server processes
    connections: int = 8


QUICK = Sizes(jobs=(5000,), queues=20, seconds=1.5)


def run(setting: Setting, sizes: Sizes) -> Report:
    """For each size: bare statements, then the server, over one database."""
    report = Report(watched={"per s": 1, "of raw": 1, "p99 ms": -1})
    for number, n_jobs in enumerate(sizes.jobs):
        with setting.databases.new() as url:
            population = Population.start(url, seed=setting.seed, n_queues=sizes.queues, n_tasks=max(1, n_jobs // 1000))
            population.add_jobs(n_jobs, JobState.ACTIVATED)
            population.finish()
            settle(url)
            queues = [population.queue(at) for at in range(sizes.queues)]
            with running_server(url, setting.databases.folder / f"dispatch-{number}", workers=sizes.workers) as server:
                _measure(report, setting, sizes, n_jobs, url, queues, server)
    return report


def _measure(
    report: Report, setting: Setting, sizes: Sizes, n_jobs: int, url: str, queues: list[str], server: Server
) -> None:
    limit = n_jobs // PART
    if not report.rows:
        bare = bare_replies(server, setting.databases, connections=sizes.connections, seconds=sizes.seconds / 5)
        report.add("/livez, no database", bare.figures(bare.tally.rate()))
    warm_up(server, setting.databases, queues, seed=setting.seed, connections=sizes.connections)
    for what, n_steps in (("claims", 1), ("lives", 4)):
        raw = Measured(
            run_raw(
                url,
                queues,
                clients=sizes.connections,
                limit=limit,
                seconds=sizes.seconds,
                seed=setting.seed,
                n_steps=n_steps,
            ),
            0,
            0,
        )
        token = server.pilot_token()
        sources = [
            Lives(token, queues, setting.seed + at, limit // LOAD_PROCESSES, n_steps) for at in range(LOAD_PROCESSES)
        ]
        http = measured(server, setting.databases, sources, connections=sizes.connections, seconds=sizes.seconds)
        where = named(activated=n_jobs)
        raw_rate, rate = raw.tally.rate("claim"), http.tally.rate("claim")
        report.add(f"{where}: {what}, raw SQL", raw.figures(raw_rate))
        report.add(f"{where}: {what}, server", {**http.figures(rate), "of raw": rate / raw_rate})
        tell_errors(report, f"{where}: {what}", http.tally)
        tell_errors(report, f"{where}: {what}, raw SQL", raw.tally)
        report.details[f"{where}: {what}"] = http.tally.by_kind()
