"""The end of jobs: how fast the adder of a real daemon books what pilots have reported.

Each job has an input, an output and a log. Beside it the limit: the same changes as bare statements, a transaction for
each page of as many jobs as the adder takes at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from bamboo.core.clock import utc_now
from bamboo.core.states import InputFileState, JobState, OutputFileState
from bamboo.daemon.chores.adder import PAGE
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine, reading

from .database import settle
from .measuring import Setting, named
from .population import Population
from .report import Report
from .server import running_daemon

POLL_SECONDS = 0.2
LONGEST_SECONDS = 3600.0
FILES_PER_JOB = 3
ADDER_ONLY = {"adder": {"period": 1, "loop": True}}


@dataclass(frozen=True)
class Sizes:
    jobs: tuple[int, ...] = (10_000, 100_000)  #: jobs that wait for the adder
    jobs_per_task: int = 1000
    processes: int = 1  #: of the daemon


QUICK = Sizes(jobs=(600,), jobs_per_task=100)


def run(setting: Setting, sizes: Sizes) -> Report:
    """For each size: the adder, then the bare statements over the same rows in another database."""
    report = Report(watched={"jobs/s": 1, "of bare": 1})
    for n_jobs in sizes.jobs:
        with setting.databases.new() as url:
            _populate(setting, sizes, url, n_jobs)
            adder = _adder_rate(setting, sizes, url, n_jobs)
            _must_be_booked(url, n_jobs)
        with setting.databases.new() as url:
            bare = n_jobs / _bare_seconds(url, _populate(setting, sizes, url, n_jobs))
        figures = {"jobs/s": adder, "files/s": adder * FILES_PER_JOB, "of bare": adder / bare}
        report.add(f"{named(jobs=n_jobs)}: adder", figures)
        report.add(f"{named(jobs=n_jobs)}: bare statements", {"jobs/s": bare, "files/s": bare * FILES_PER_JOB})
    return report


def _populate(setting: Setting, sizes: Sizes, url: str, n_jobs: int) -> range:
    population = Population.start(url, seed=setting.seed, n_tasks=max(1, n_jobs // sizes.jobs_per_task))
    ids = population.add_jobs(n_jobs, JobState.HOLDING)
    population.finish()
    settle(url)
    return ids


def _adder_rate(setting: Setting, sizes: Sizes, url: str, n_jobs: int) -> float:
    """Jobs per second, from when the first page was taken to when the last one was, by the log of states."""
    folder = setting.databases.folder / f"finish-{n_jobs}"
    folder.mkdir()
    engine = open_engine(url, pool_size=1)
    settings = {"BAMBOO_DATABASE__URL": url, "BAMBOO_DAEMON__N_PROC": str(sizes.processes)}
    with running_daemon(settings, folder, ADDER_ONLY) as daemon:
        end = time.monotonic() + LONGEST_SECONDS
        while n_left := n_holding(engine):
            if time.monotonic() > end or daemon.poll() is not None:
                raise SystemExit(f"the adder stands still at {n_left} of {n_jobs} jobs")
            time.sleep(POLL_SECONDS)
    with reading(engine) as tx:
        booked = sa.select(t.job_events.c.at, sa.func.count()).where(t.job_events.c.new_status == JobState.FINISHED)
        pages = tx.execute(booked.group_by(t.job_events.c.at).order_by(t.job_events.c.at)).all()
    engine.dispose()
    (first, _), (last, n_last) = pages[0], pages[-1]
    if first == last:
        raise SystemExit(f"{n_jobs} jobs are one page only: give more --jobs")
    return float((n_jobs - n_last) / (last - first).total_seconds())


def n_holding(engine: sa.Engine) -> int:
    """How many jobs wait for the adder."""
    with reading(engine) as tx:
        counted = sa.select(sa.func.count()).where(t.jobs.c.status == JobState.HOLDING)
        return int(tx.execute(counted).scalar_one())


def _must_be_booked(url: str, n_jobs: int) -> None:
    """End the program unless all jobs are finished and their outputs registered."""
    engine = open_engine(url)
    with reading(engine) as tx:
        finished = tx.scalar(sa.select(sa.func.count()).where(t.jobs.c.status == JobState.FINISHED))
        registered = tx.scalar(sa.select(sa.func.count()).select_from(t.catalogue_files))
    engine.dispose()
    if (finished, registered) != (n_jobs, n_jobs * 2):
        raise SystemExit(f"{finished} jobs are finished and {registered} files registered, of {n_jobs} jobs")


def _bare_seconds(url: str, ids: Sequence[int]) -> float:
    engine, now = open_engine(url), utc_now()
    with engine.begin() as tx:
        home = {"name": "user.bench.bare", "user_name": "bench", "created_at": now}
        dataset = tx.execute(sa.insert(t.catalogue_datasets).values(home).returning(t.catalogue_datasets.c.dataset_id))
        dataset_id = int(dataset.scalar_one())
    began = time.monotonic()
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        with engine.begin() as tx:
            _book_bare(tx, page[0], page[-1], dataset_id, now)
    engine.dispose()
    return time.monotonic() - began


def _book_bare(tx: sa.Connection, first: int, last: int, dataset_id: int, now: object) -> None:
    """End the jobs from one id to another: a statement for each table."""
    mine = t.job_files.c.pandaid.between(first, last)
    is_input = t.job_files.c.type == "input"
    moments = {"modified_at": now, "state_changed_at": now}
    ended = sa.update(t.jobs).where(t.jobs.c.pandaid.between(first, last))
    tx.execute(ended.values(status=JobState.FINISHED, **moments))
    line = (t.jobs.c.pandaid, t.jobs.c.attempt_nr, *map(sa.literal, ("holding", "finished", "adder", "bare")))
    moment = sa.literal(now, t.job_events.c.at.type)
    names = ["pandaid", "attempt_nr", "old_status", "new_status", "actor", "why", "at"]
    lines = sa.select(*line, moment).where(t.jobs.c.pandaid.between(first, last))
    tx.execute(sa.insert(t.job_events).from_select(names, lines))
    made = {"guid": "guid", "size_bytes": 21, "checksum": "ad:57060779", "url": "file://localhost/storage/x"}
    tx.execute(sa.update(t.job_files).where(mine, ~is_input).values(status=OutputFileState.FINISHED, **made))
    tx.execute(sa.update(t.job_files).where(mine, is_input).values(status=InputFileState.FINISHED))
    inputs = sa.update(t.files).where(t.files.c.fileid.between(first, last))
    tx.execute(inputs.values(status=InputFileState.FINISHED, pandaid=None))
    entry = (sa.literal(dataset_id), t.job_files.c.lfn, t.job_files.c.guid, t.job_files.c.url)
    figures = (t.job_files.c.size_bytes, sa.literal("57060779"), t.job_files.c.pandaid, moment)
    names = ["dataset_id", "lfn", "guid", "url", "size_bytes", "adler32", "pandaid", "created_at"]
    registered = sa.select(*entry, *figures).where(mine, ~is_input)
    tx.execute(sa.insert(t.catalogue_files).from_select(names, registered))
