"""What people and programs look at, over a million jobs of ten thousand tasks: pages, listings, details."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from bamboo.core.states import JobState
from bamboo.sql import history, queue_verdicts

from .database import settle
from .measuring import Setting, bare_replies, measured, named, tell_errors
from .population import Population
from .report import Report
from .server import running_server
from .sources import Looks

#: What part of the jobs is in which state.
STATES = {JobState.FINISHED: 0.6, JobState.FAILED: 0.1, JobState.ACTIVATED: 0.2, JobState.RUNNING: 0.1}
#: Different tasks or jobs that are asked for by turns.
N_ASKED = 200
PAGES = (
    *("/", "/tasks/", "/jobs/", "/errors/", "/queues/", "/sites/", "/workers/", "/globalshares/", "/users/"),
    *("/datasets/", "/decisions/", "/agents/", "/settings/"),
)
#: The one user who asks here would soon hear 429.
#: For which a broker passes over a queue.
N_GATES = 12
UNLIMITED = {"BAMBOO_SERVER__REQUESTS_PER_MINUTE": "0"}


@dataclass(frozen=True)
class Sizes:
    jobs: int = 1_000_000
    tasks: int = 10_000
    queues: int = 200
    seconds: float = 5.0  #: for each view
    connections: int = 4


QUICK = Sizes(jobs=5000, tasks=50, queues=10, seconds=0.5)


def run(setting: Setting, sizes: Sizes) -> Report:
    """Each view in turn."""
    report = Report(watched={"p50 ms": -1, "of /livez": -1})
    with setting.databases.new() as url:
        population = Population.start(url, seed=setting.seed, n_queues=sizes.queues, n_tasks=sizes.tasks)
        for state, part in STATES.items():
            population.add_jobs(int(sizes.jobs * part), state)
        population.finish()
        _tell_history(population)
        settle(url)
        with running_server(url, setting.databases.folder / "views", environ=UNLIMITED) as server:
            token = server.user_token()
            looks = (setting.databases, sizes.connections, sizes.seconds)
            bare = bare_replies(server, looks[0], connections=looks[1], seconds=looks[2])
            report.add("/livez", bare.figures(bare.tally.rate()))
            for kind, paths in views(population, setting.seed).items():
                source = Looks(kind, token, paths, setting.seed)
                got = measured(server, looks[0], [source], connections=looks[1], seconds=looks[2])
                figures = got.figures(got.tally.rate())
                report.add(kind, {**figures, "of /livez": figures["p50 ms"] / bare.tally.p_ms(50)})
                tell_errors(report, kind, got.tally)
    report.notes.append(f"{named(jobs=sizes.jobs)}, {named(tasks=sizes.tasks)}")
    return report


def _tell_history(population: Population) -> None:
    """What the historian would have kept of these jobs, and brokers of a day."""
    step = history.step_of(population.now)
    with population.engine.begin() as tx:
        history.book_step(tx, step)
    with population.engine.begin() as tx:
        history.take_sample(tx, step)
    queues = [population.queue(number) for number in range(population.n_queues)]
    for hour in range(24):
        at = queue_verdicts.hour_of(population.now - timedelta(hours=hour))
        common = {"at": at, "n": 1000, "jeditaskid": population.first_task, "last_at": at}
        rows = [{**common, "queue": queue, "gate": f"gate {gate}"} for queue in queues for gate in range(N_GATES)]
        with population.engine.begin() as tx:
            queue_verdicts.add(tx, rows)


def views(population: Population, seed: int) -> Mapping[str, Sequence[str]]:
    """The addresses of each view."""
    dice = random.Random(seed)
    tasks = [population.first_task + dice.randrange(population.n_tasks) for _ in range(N_ASKED)]
    jobs = [1 + dice.randrange(population.n_jobs) for _ in range(N_ASKED)]
    api = "/api/v1"
    return {
        "task: details": [f"{api}/task/get_detailed_info?task_id={task}" for task in tasks],
        "task: datasets and jobs": [f"{api}/task/get_details?task_id={task}" for task in tasks],
        "task: state": [f"{api}/task/get_status?task_id={task}" for task in tasks],
        "task: why": [f"{api}/task/why?task_id={task}" for task in tasks],
        "tasks: newest 100": ["/tasks/?limit=100"],
        "jobs: 100 of a task": [f"{api}/job/list?task_id={task}&limit=100" for task in tasks],
        "jobs: 100 of all": [f"{api}/job/list?after={job}&limit=100" for job in jobs],
        "job: details": [f"{api}/job/get_detailed_info?job_id={job}" for job in jobs],
        "job: why": [f"{api}/job/why?job_id={job}" for job in jobs],
        "queues": [f"{api}/queue/list"],
        **{f"page {path}": [path] for path in PAGES},
        "page of a task": [f"/task/{task}/" for task in tasks],
        "page of a job": [f"/job/{job}/" for job in jobs],
        "page of a queue": [f"/queue/{population.queue(number)}/" for number in range(population.n_queues)],
        "page of a site with all queues": ["/site/BENCH/"],
        "page: decisions about a queue": [f"/decisions/?queue={population.queue(1)}"],
        "page: jobs of a task": [f"/jobs/?jeditaskid={task}" for task in tasks],
        "page: failed jobs at a queue": [f"/jobs/?jobstatus=failed&computingsite={population.queue(1)}"],
        "page: jobs of nobody": ["/jobs/?produsername=nobody"],
        "page: tasks by name": ["/tasks/?taskname=*7*"],
    }
