"""What a pilot adds to a payload: python benchmarks/pilot_overhead.py [--postgres]

Jobs of `true` without files on the real server, one pilot: from the claim to the accepted final report, as the server's
own log of states tells it, beside `true` started as a bare subprocess the same way (bash -c).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from bamboo.admin.interrupt import interruptible
from bamboo.admin.state import StateFolder
from bamboo.admin.system import Plan, System, embedded_postgres
from bamboo.benchmarks.machine import facts
from bamboo.core.clock import utc_now
from bamboo.core.states import JobState
from bamboo.sql import datasets, generation, tasks
from bamboo.sql.engine import open_engine
from bamboo.sql.tables import job_events


def enter_jobs(engine: sa.Engine, n_jobs: int) -> None:
    columns = {
        "attempt_nr": 1,
        "queue": "LOCAL",
        "current_priority": 1000,
        "gshare": "Undefined",
        "resource_type": "Undefined",
        "prod_source_label": "user",
        "vo": "bamboo",
        "user_name": "bench",
        "transformation": "/bin/true",
        "core_count": 1,
        "min_ram_count_mb": 0,
        "max_disk_count_mb": 0,
        "max_walltime_seconds": 0,
        "n_input_files": 0,
        "input_file_bytes": 0,
    }
    now = utc_now()
    with engine.begin() as tx:
        names = {"task_name": "bench", "user_name": "bench", "vo": "bamboo", "prod_source_label": "user"}
        task = tasks.insert_task(
            tx, {}, actor="bench", now=now, request_id=None, split_rule={}, status="paused", **names
        )
        datasets.insert_datasets(tx, [], now=now)
        new = [generation.NewJob({**columns, "serial_nr": n}, "") for n in range(n_jobs)]
        generation.insert_jobs(tx, task, new, status=JobState.ACTIVATED, actor="bench", why="bench", now=now)


def overheads(engine: sa.Engine) -> list[float]:
    """Seconds from `sent` to `holding` of each job."""
    at: dict[tuple[int, str], object] = {}
    with engine.connect() as tx:
        for line in tx.execute(sa.select(job_events)):
            at[line.pandaid, line.new_status] = line.at
    pairs = [(at[job, "sent"], moment) for (job, state), moment in at.items() if state == "holding"]
    return [(late - early) / timedelta(seconds=1) for early, late in pairs]  # type: ignore[operator]


def bare(n: int) -> list[float]:
    seconds = []
    for _ in range(n):
        began = time.monotonic()
        subprocess.run(["/bin/bash", "-c", "/bin/true"], check=True)
        seconds.append(time.monotonic() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    os.environ["BAMBOO_DAEMON__CONFIG"] = json.dumps({"aggregates": {"period": 3600}})  # books nothing meanwhile
    print(facts())
    with interruptible(), ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="bamboo-bench-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        folder = StateFolder(root)
        folder.make()
        url = stack.enter_context(embedded_postgres(folder.postgres)) if given.postgres else folder.sqlite_url
        system = System(Plan(folder, url, port=0, n_pilots=0))
        stack.callback(system.stop)
        system.start()
        engine = open_engine(url)
        enter_jobs(engine, given.jobs)
        pilot = [
            sys.executable,
            "-m",
            "bamboo.pilot",
            "-q",
            "LOCAL",
            "-s",
            "LOCAL",
            "-j",
            "user",
            "-a",
            str(folder.pilots),
        ]
        pilot += ["--url", system.url, "-v", "1", "--poll-seconds", "0.1", "--timefloor", "-1"]
        subprocess.run(pilot, check=True, stderr=subprocess.DEVNULL)
        found = sorted(overheads(engine))
        engine.dispose()
    plain = statistics.median(bare(given.jobs))
    median = statistics.median(found)
    p95 = found[int(len(found) * 0.95)]
    print(f"{len(found)} jobs, claim to accepted report: median {median * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms")
    print(f"bare subprocess: median {plain * 1000:.1f} ms; overhead of the pilot {1000 * (median - plain):.1f} ms")


if __name__ == "__main__":
    main()
