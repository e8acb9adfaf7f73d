"""Live views of a system of real processes: a line that a job prints is seen, and what is killed leaves last words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patience import PATIENCE_SECONDS, eventually
from systems import RunningSystem

WAIT = "while ! test -e {go}; do sleep 0.1; done"


def test_a_log_is_followed_and_a_killed_pilot_leaves_last_words(
    start_system: Callable[..., RunningSystem], tmp_path: Path
) -> None:
    system, go = start_system("--pilots", "1"), tmp_path / "go"
    command = f"echo $((20 + 1)) first; {WAIT.format(go=go)}; echo $((40 + 2)) last; sleep 1000"
    task = system.client.run(command, n_jobs=1)
    job = eventually(lambda: next(iter(task.jobs("running")), None), "a job that runs")
    printed = tmp_path / "printed"
    with printed.open("wb") as sink:
        words = [sys.executable, "-m", "bamboo", "job", "logs", "-f", str(job.job_id), "--url", system.url]
        environ = {**os.environ, "BAMBOO_USER": "alice"}
        follower = subprocess.Popen(words, stdout=sink, stderr=subprocess.STDOUT, env=environ)
    try:
        _follow(system, job.job_id, go, printed)
        assert follower.wait(PATIENCE_SECONDS) == 0
    finally:
        follower.kill()
        follower.wait()
    assert f"job {job.job_id} failed" in printed.read_text()
    kept = _record(system, job.job_id, "42 last")
    assert kept["samples"]


def _follow(system: RunningSystem, job_id: int, go: Path, printed: Path) -> None:
    """See both lines, and kill the pilot, of which nobody hears any more."""
    eventually(lambda: "21 first" in printed.read_text(), "the first line")
    go.touch()
    eventually(lambda: "42 last" in printed.read_text(), "the last line")
    record = eventually(lambda: _record(system, job_id, "42 last"), "a look at the processes")
    assert "sleep" in {process["name"] for process in record["processes"]}
    for process in system.of_kind("pilot"):
        os.kill(process.pid, signal.SIGKILL)


def _record(system: RunningSystem, job_id: int, words: str) -> dict[str, Any]:
    """The flight record of a job, once it has these words and a look at its processes."""
    found: dict[str, Any] = system.client.transport.get("job/get_record", job_id=job_id)
    return found if words in str(found["stdout"]) and found["processes"] else {}
