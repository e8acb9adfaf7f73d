"""Orders reach running jobs in seconds, though their pilots report every ten minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, eventually
from systems import RunningSystem

from bamboo.client import Task
from bamboo.client.errors import ServerUnreachable

SELDOM = {
    "BAMBOO_SERVER__HEARTBEAT_SECONDS": "600",
    "BAMBOO_SERVER__LEASE_SECONDS": "1800",
    "BAMBOO_SERVER__SENT_SECONDS": "1800",
}
#: Generous to a busy machine, and far from the 600 s between heartbeats; docs/pilot.md has what it takes.
SOON_SECONDS = 90.0


@pytest.fixture
def system(start_system: Callable[..., RunningSystem]) -> RunningSystem:
    return start_system("--pilots", "1", **SELDOM)


def running_job(system: RunningSystem, command: str) -> tuple[Task, int]:
    """A task of one job, and the job, whose pilot has told that it runs."""
    task = system.client.run(command, n_jobs=1)
    job = eventually(lambda: next(iter(task.jobs("running")), None), "a job that runs")
    return task, job.job_id


@contextmanager
def following(system: RunningSystem, job_id: int, printed: Path) -> Iterator[None]:
    """`bamboo job logs -f`, which writes to a file."""
    words = [sys.executable, "-m", "bamboo", "job", "logs", "-f", str(job_id), "--url", system.url]
    with printed.open("wb") as sink:
        environ = {**os.environ, "BAMBOO_USER": "alice"}
        follower = subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT, env=environ)
    try:
        yield
    finally:
        follower.kill()
        follower.wait()


def soon(condition: Callable[[], object], what: str) -> float:
    """Wait until it is so, which must be soon; returns the seconds that it took."""
    begun = time.monotonic()
    eventually(condition, what, seconds=SOON_SECONDS)
    return time.monotonic() - begun


def _says(printed: Path, line: str) -> bool:
    return line in printed.read_text()


def kill(task: Task) -> float:
    """Kill a task; returns the seconds until its payload was over."""
    task.kill()
    return soon(lambda: not list(task.jobs("running")), "the job to end")


def test_a_line_is_seen_soon_after_it_is_printed(
    system: RunningSystem, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder, printed = tmp_path / "go", tmp_path / "printed"
    folder.mkdir()
    wait = f"while ! test -e {folder}/$i; do sleep 0.05; done"
    command = f"echo $((40 + 2)) first; for i in 1 2 3; do {wait}; echo line $((i * 11)); done; sleep 1000"
    _, job_id = running_job(system, command)
    with following(system, job_id, printed):
        record_property("seconds_to_first_line", soon(partial(_says, printed, "42 first"), "the first line"))
        for number in (1, 2, 3):
            (folder / str(number)).touch()
            line = f"line {number * 11}"
            seconds = soon(partial(_says, printed, line), line)
            record_property(f"seconds_to_line_{number}", seconds)


def test_a_killed_task_ends_soon(system: RunningSystem, record_property: Callable[[str, object], None]) -> None:
    task, _ = running_job(system, "sleep 1000")
    record_property("seconds_to_end", kill(task))


def test_the_bell_rings_again_after_the_server_was_killed(
    system: RunningSystem, record_property: Callable[[str, object], None]
) -> None:
    task, _ = running_job(system, "sleep 1000")
    for process in system.of_kind("server"):
        os.kill(process.pid, signal.SIGKILL)

    def is_back() -> bool:
        try:
            return bool(list(task.jobs("running")))
        except ServerUnreachable:
            return False

    eventually(is_back, "the server", seconds=PATIENCE_SECONDS)
    record_property("seconds_to_end", kill(task))
