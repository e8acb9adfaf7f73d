"""Job generation: a task of so many input files, from its submission to all its jobs activated, by a real JEDI.

Beside it the limit: the rows that this made, entered by COPY into an empty database of the same schema, with its
indexes (on SQLite by multi-row INSERTs in one transaction).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from bamboo.client import connect
from bamboo.core.clock import utc_now
from bamboo.core.partitions import QUEUED_MAX, QUEUED_MIN
from bamboo.core.states import JobState
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine, reading
from bamboo.sql.settings import set_value

from .database import Databases, settle
from .measuring import Setting, named
from .population import VO, Population
from .processes import read_all
from .report import Report
from .server import running_jedi, running_server

#: Tables that generation fills, those first that others refer to.
FILLED = (t.tasks, t.datasets, t.files, t.jobs, t.job_params, t.job_files, t.job_events)
DATASET = "user.bench.in"
POLL_SECONDS = 0.5
#: A task that gets no new job for so long stands still.
STANDSTILL_SECONDS = 300.0
PERIOD = "BAMBOO_MASTER__PERIOD_SECONDS"
MANY = 10**9
#: The throttlers would hold up a task whose jobs no pilot takes.
NO_LIMIT = {"BAMBOO_JOBGEN__MAX_QUEUED_JOBS_PER_QUEUE": str(MANY)}


@dataclass(frozen=True)
class Sizes:
    files: tuple[int, ...] = (100_000, 1_000_000)  #: input files of a task, one job each
    queues: int = 10
    period: float = 5.0  #: seconds after which an agent of JEDI that found nothing looks again


QUICK = Sizes(files=(500,), queues=2, period=0.2)


def run(setting: Setting, sizes: Sizes) -> Report:
    """For each size: generation, then the bare rows."""
    report = Report(watched={"per s": 1, "of bare": 1, "peak MiB": -1})
    for n_files in sizes.files:
        with setting.databases.new() as url:
            made = _generate(setting, sizes, url, n_files)
            rate, what = n_files / made.seconds, named(files=n_files)
            n_rows, bare_seconds = bare_rows(setting.databases, url)
            bare = n_files / bare_seconds
        figures = {"per s": rate, "seconds": made.seconds, "to first jobs s": made.first_seconds}
        figures |= {"peak MiB": made.peak_mb, "of bare": rate / bare}
        report.add(f"{what}: submission to activated", figures)
        report.add(f"{what}: {n_rows} rows, bare", {"per s": bare, "seconds": bare_seconds})
    return report


@dataclass(frozen=True)
class Made:
    """A generation: seconds from the submission to the first and to all jobs, the most memory of JEDI's processes."""

    seconds: float
    first_seconds: float
    peak_mb: float


def _generate(setting: Setting, sizes: Sizes, url: str, n_files: int) -> Made:
    population = Population.start(url, seed=setting.seed, n_queues=sizes.queues, n_tasks=0)
    population.add_dataset(DATASET, n_files)
    lift_limits(population.engine)
    population.close()
    settle(url)
    folder = setting.databases.folder / f"generate-{n_files}"
    with ExitStack() as stack:
        server = stack.enter_context(running_server(url, folder))
        jedi = stack.enter_context(running_jedi({**server.settings, **NO_LIMIT, PERIOD: str(sizes.period)}, folder))
        engine = open_engine(url, pool_size=1)
        stack.callback(engine.dispose)
        began, first_seconds, peak_kb, seen = time.monotonic(), 0.0, 0, 0
        moved_at = began
        task = connect(server.url, token=server.user_token()).submit_parameters(parameters())
        while (n_jobs := n_activated(engine)) < n_files:
            if n_jobs > seen:
                seen, moved_at = n_jobs, time.monotonic()
            if time.monotonic() > moved_at + STANDSTILL_SECONDS or jedi.poll() is not None:
                raise SystemExit(f"task {task} stands still at {n_jobs} of {n_files} jobs: {_state(engine, task)}")
            first_seconds = first_seconds or (time.monotonic() - began if n_jobs else 0.0)
            peak_kb = max(peak_kb, sum(one.pss_kb for one in read_all([jedi.pid]).values()))
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        return Made(seconds, first_seconds or seconds, peak_kb / 1024)


def lift_limits(engine: sa.Engine) -> None:
    """Let partitions of the Job Generator have as many queued jobs as there may be."""
    with engine.begin() as tx:
        for one in (QUEUED_MIN, QUEUED_MAX):
            set_value(tx, one.component, one.key, one.app, str(MANY), kind="int", now=utc_now())


def parameters(name: str = "user.bench.generate", dataset: str = DATASET) -> dict[str, Any]:
    """A task with one job for each file of the dataset."""
    output = {"param_type": "output", "value": "x.$JEDITASKID._${SN/P}.txt", "dataset": f"{name}.x/", "hidden": True}
    return {
        "taskName": name,
        "vo": VO,
        "prodSourceLabel": "user",
        "processingType": "bench",
        "taskType": "anal",
        "nFilesPerJob": 1,
        "skipScout": True,
        "sourceURL": "http://localhost:25080",
        "jobParameters": [
            {"type": "constant", "value": '-j "" --sourceURL ${SURL} -r . -p "true"'},
            {"type": "template", "param_type": "input", "value": "-i ${IN/T}", "dataset": dataset},
            {"type": "template", **output},
            {"type": "constant", "value": "-o \"{'x.txt': 'x.$JEDITASKID._${SN/P}.txt'}\""},
        ],
    }


def n_activated(engine: sa.Engine) -> int:
    """How many jobs wait for a pilot."""
    with reading(engine) as tx:
        counted = sa.select(sa.func.count()).where(t.jobs.c.status == JobState.ACTIVATED)
        return int(tx.execute(counted).scalar_one())


def _state(engine: sa.Engine, jeditaskid: int) -> str:
    with reading(engine) as tx:
        columns = (t.tasks.c.status, t.tasks.c.error_dialog)
        return str(tuple(tx.execute(sa.select(*columns).where(t.tasks.c.jeditaskid == jeditaskid)).one()))


def bare_rows(databases: Databases, url: str) -> tuple[int, float]:
    """How many rows generation has made, and how long it takes to enter them into another database of the same kind."""
    with databases.new() as empty:
        if databases.server is None:
            return _insert_rows(url, empty)
        return _copy_rows(databases.folder, url, empty)


def _copy_rows(folder: Path, url: str, empty: str) -> tuple[int, float]:
    n_rows, seconds = 0, 0.0
    with psycopg.connect(plain(url)) as source, psycopg.connect(plain(empty)) as sink:
        for table in FILLED:
            path = folder / f"{table.name}.copy"
            with path.open("wb") as file, source.cursor().copy(_command(table, "TO STDOUT")) as rows:
                for some in rows:
                    file.write(some)
            began = time.monotonic()
            cursor = sink.cursor()
            with cursor.copy(_command(table, "FROM STDIN")) as copy:
                for block in blocks(path):
                    copy.write(block)
            sink.commit()
            seconds += time.monotonic() - began
            n_rows += cursor.rowcount
            path.unlink()
    return n_rows, seconds


def _command(table: sa.Table, how: str) -> bytes:
    return f"COPY {table.name} {how} (FORMAT binary)".encode()


def blocks(path: Path, size: int = 1 << 18) -> Iterator[bytes]:
    """A file, block by block."""
    with path.open("rb") as file:
        while block := file.read(size):
            yield block


def plain(url: str) -> str:
    """The URL as libpq takes it."""
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _insert_rows(url: str, empty: str) -> tuple[int, float]:
    source, sink = open_engine(url), open_engine(empty)
    n_rows, seconds = 0, 0.0
    for table in FILLED:
        with reading(source) as tx:
            rows: Sequence[Any] = [dict(row) for row in tx.execute(sa.select(table)).mappings()]
        began = time.monotonic()
        if rows:
            with sink.begin() as tx:
                tx.execute(sa.insert(table), rows)
        seconds += time.monotonic() - began
        n_rows += len(rows)
    source.dispose()
    sink.dispose()
    return n_rows, seconds
