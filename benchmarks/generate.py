"""Job generation in bulk: python benchmarks/generate.py [--db URL] [--inputs 100000]

From a submitted task of pseudo inputs to all its jobs activated, by the real agents; jobs per second and peak memory,
beside the limit: the same number of job rows inserted by one multi-row statement after the other.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from bamboo.benchmarks.machine import facts
from bamboo.core.clock import utc_now
from bamboo.core.settings import Settings
from bamboo.core.states import JobState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.jedi.context import Context
from bamboo.plugins.manager import Plugins
from bamboo.sql import migrate, queues, tasks
from bamboo.sql.engine import open_engine
from bamboo.sql.tables import jobs


def parameters(n_inputs: int) -> dict[str, object]:
    output = {"param_type": "output", "value": "x.$JEDITASKID._${SN/P}.txt", "dataset": "user.bench.x/", "hidden": True}
    return {
        "taskName": "user.bench.generate",
        "vo": "bamboo",
        "prodSourceLabel": "user",
        "noInput": True,
        "nEvents": n_inputs,
        "nEventsPerJob": 1,
        "skipScout": True,
        "sourceURL": "http://localhost:25080",
        "jobParameters": [
            {"type": "constant", "value": '-j "" --sourceURL ${SURL} -r . -p "true"'},
            {"type": "template", **output},
            {"type": "constant", "value": "-o \"{'x.txt': 'x.$JEDITASKID._${SN/P}.txt'}\""},
        ],
    }


def generate(engine: sa.Engine, n_inputs: int) -> float:
    settings = Settings()
    context = Context(engine, utc_now, settings, Plugins(settings, engine, utc_now))
    with engine.begin() as tx:
        queues.set_storage(tx, "DISK", site="BENCH", endpoint="file://localhost", path="/storage")
        queues.set_queue(tx, "BENCH", {"site": "BENCH", "storage": "DISK"}, now=utc_now())
        names = {"task_name": "user.bench.generate", "user_name": "bench", "vo": "bamboo", "prod_source_label": "user"}
        tasks.insert_task(
            tx, parameters(n_inputs), actor="bench", now=utc_now(), request_id=None, split_rule={}, **names
        )
    began = time.monotonic()
    for agent in (TaskRefiner, ContentsFeeder, JobGenerator):
        agent(context).run_once()
    seconds = time.monotonic() - began
    with engine.connect() as tx:
        n_jobs = tx.scalar(sa.select(sa.func.count()).where(jobs.c.status == JobState.ACTIVATED))
    if n_jobs != n_inputs:
        raise SystemExit(f"{n_jobs} jobs instead of {n_inputs}")
    return seconds


def bare_inserts(engine: sa.Engine, n_jobs: int) -> float:
    """Copies of the generated rows, as plain inserts in transactions of the same size."""
    with engine.connect() as tx:
        row = dict(tx.execute(sa.select(jobs).limit(1)).mappings().one())
    row.pop("pandaid")
    began = time.monotonic()
    for start in range(0, n_jobs, 2000):
        with engine.begin() as tx:
            tx.execute(sa.insert(jobs), [row] * min(2000, n_jobs - start))
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", help="an empty database; default: SQLite in a temporary folder")
    parser.add_argument("--inputs", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(given.db or f"sqlite:///{Path(folder, 'bamboo.db')}")
        migrate.upgrade(engine)
        seconds = generate(engine, given.inputs)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        bare = bare_inserts(engine, given.inputs)
        engine.dispose()
    print(facts())
    rate = given.inputs / seconds
    print(f"{engine.dialect.name}: {given.inputs} jobs in {seconds:.1f} s: {rate:.0f} jobs/s, peak {peak_mb:.0f} MiB")
    print(f"bare inserts of the job rows alone: {given.inputs / bare:.0f}/s; ratio {seconds / bare:.1f}")


if __name__ == "__main__":
    main()
