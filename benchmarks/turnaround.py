"""How soon things happen on an idle system: from submission to the first payload, and what a pilot adds to a payload.

`bamboo up`'s parts, with its lively settings. What a pilot adds is the time from the claim of a job of `true` without
files to its accepted final report, as the server's own log of states tells it, beside `true` as a bare subprocess.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bamboo.admin.state import StateFolder
from bamboo.admin.system import Plan, System
from bamboo.client import connect
from bamboo.client.polling import Poller
from bamboo.core.clock import utc_now
from bamboo.core.states import JobState
from bamboo.sql import generation, tasks
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine

from .load import percentile
from .measuring import Setting
from .report import Report

LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class Sizes:
    jobs: int = 200  #: that one pilot runs one after the other
    tasks: int = 10  #: submitted one after the other, each when the one before is over


QUICK = Sizes(jobs=3, tasks=1)


def run(setting: Setting, sizes: Sizes) -> Report:
    """Both measurements, each on a system of its own."""
    report = Report(watched={"median ms": -1, "of bare": -1})
    first = _first_payloads(setting, sizes.tasks)
    overheads = _overheads(setting, sizes.jobs)
    bare = _bare(max(20, sizes.jobs))
    typical = statistics.median(bare)
    for what, found in (("submission to first payload", first), ("job of `true`, claim to accepted report", overheads)):
        report.add(what, {**_figures(found), "of bare": statistics.median(found) / typical})
    report.add("bare subprocess `true`", _figures(bare))
    return report


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "n": len(seconds),
        "median ms": 1000 * statistics.median(seconds),
        "p95 ms": 1000 * percentile(seconds, 95),
        "least ms": 1000 * min(seconds),
    }


@contextmanager
def system_up(setting: Setting, name: str, *, n_pilots: int) -> Iterator[System]:
    """The parts of `bamboo up` over a new database."""
    folder = StateFolder(setting.databases.folder / name)
    folder.make()
    with setting.databases.new() as url:
        system = System(Plan(folder, url, port=0, n_pilots=n_pilots))
        try:
            system.start()
            yield system
        finally:
            system.stop()


def _first_payloads(setting: Setting, n_tasks: int) -> list[float]:
    """Seconds from each submission to the first line of its payload."""
    with system_up(setting, "first", n_pilots=1) as system:
        client, found = connect(system.url), []
        for number in range(n_tasks + 1):
            stamp = setting.databases.folder / f"began-{number}"
            began = time.time()
            task = client.run(f"date +%s.%N > {stamp}", n_jobs=1)
            info = task.wait(timeout_seconds=LONGEST_SECONDS, poller=Poller(longest_seconds=0.5))
            if not info.state.startswith("done"):
                raise SystemExit(f"task {number} ended as {info.state}")
            found.append(float(stamp.read_text()) - began)
        return found[1:]  # the first one loads what the others find loaded


def _overheads(setting: Setting, n_jobs: int) -> list[float]:
    """Seconds from `sent` to `holding` of each job."""
    with system_up(setting, "overhead", n_pilots=0) as system:
        engine = open_engine(system.plan.database_url)
        _enter_jobs(engine, n_jobs)
        _run_pilot(system, n_jobs)
        at: dict[tuple[int, str], datetime] = {}
        with engine.connect() as tx:
            for line in tx.execute(sa.select(t.job_events)):
                at[line.pandaid, line.new_status] = line.at
        engine.dispose()
    held = {job: moment for (job, state), moment in at.items() if state == JobState.HOLDING}
    if len(held) != n_jobs:
        raise SystemExit(f"{len(held)} of {n_jobs} jobs were run")
    return [(moment - at[job, JobState.SENT]).total_seconds() for job, moment in held.items()]


def _run_pilot(system: System, n_jobs: int) -> None:
    home: Path = system.plan.state.pilots / "1"
    home.mkdir(exist_ok=True)
    pilot = [sys.executable, "-m", "bamboo.pilot", "-q", "LOCAL", "-s", "LOCAL", "-j", "user", "-a", str(home)]
    pilot += ["--url", system.url, "-v", "1", "--poll-seconds", "0.1", "--timefloor", "-1"]
    subprocess.run(pilot, check=True, stderr=subprocess.DEVNULL, timeout=LONGEST_SECONDS + n_jobs)


def _enter_jobs(engine: sa.Engine, n_jobs: int) -> None:
    words = {"vo": "bamboo", "prod_source_label": "user", "user_name": "bench"}
    zeros = ("min_ram_count_mb", "max_disk_count_mb", "max_walltime_seconds", "n_input_files", "input_file_bytes")
    columns = {
        **words,
        "attempt_nr": 1,
        "queue": "LOCAL",
        "current_priority": 1000,
        "gshare": "Undefined",
        "resource_type": "Undefined",
        "transformation": "/bin/true",
        "core_count": 1,
        **dict.fromkeys(zeros, 0),
    }
    now = utc_now()
    with engine.begin() as tx:
        more: dict[str, Any] = {**words, "task_name": "bench", "split_rule": {}, "status": "paused"}
        task = tasks.insert_task(tx, {}, actor="bench", now=now, request_id=None, **more)
        new = [generation.NewJob({**columns, "serial_nr": n}, "") for n in range(n_jobs)]
        generation.insert_jobs(tx, task, new, status=JobState.ACTIVATED, actor="bench", why="bench", now=now)


def _bare(n: int) -> list[float]:
    seconds = []
    for _ in range(n):
        began = time.monotonic()
        subprocess.run(["/bin/bash", "-c", "/bin/true"], check=True, env=os.environ)
        seconds.append(time.monotonic() - began)
    return seconds
