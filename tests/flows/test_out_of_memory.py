"""A job that the kernel ends for lack of memory, from its submission to the page that says so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from memory_group import LIMIT_MB, memory_group
from patience import PATIENCE_SECONDS, eventually
from systems import RunningSystem

#: Takes 12 MB at a time: pilots see it grow, and the kernel does not move pages to and fro for long before it gives up.
LEAK = 'python3 -c "import time; kept = [(bytearray(12 << 20), time.sleep(1.5)) for _ in range(50)]"'


def test_the_page_of_a_job_that_the_kernel_ended_says_so(
    start_system: Callable[..., RunningSystem], tmp_path: Path
) -> None:
    system = start_system("--pilots", "0")
    task = system.client.run(f"echo begins; {LEAK}", n_jobs=1, max_attempt=1)
    eventually(lambda: list(task.jobs("activated")), "a job for the pilot")
    home = tmp_path / "home"
    home.mkdir()
    options = ["--url", system.url, "-q", "LOCAL", "-j", "user", "-a", str(home)]
    options += ["--max-jobs", "1", "--heartbeat-seconds", "1"]
    with memory_group() as group, (tmp_path / "pilot.out").open("wb") as sink:
        pilot = [sys.executable, *group.pilot(), *options]
        assert subprocess.run(pilot, stdout=sink, stderr=sink, timeout=PATIENCE_SECONDS).returncode == 0
    task.wait(PATIENCE_SECONDS)
    (job,) = task.jobs("failed")
    page = urlopen(f"{system.url}/job/{job.job_id}/").read().decode()  # noqa: S310 - our own server
    said = re.search(
        r"the kernel has ended 1 process for lack of memory: the peak was (\d+) MB, the limit is (\d+) MB", page
    )
    assert said is not None, page
    assert LIMIT_MB / 2 < int(said[1]) <= int(said[2]) == LIMIT_MB
    for words in ("pilot:1212", "Memory of its processes", "<polyline"):
        assert words in page, page
    assert "begins" not in page  # what it printed is for its owner
    told = system.run("job", "show", str(job.job_id)).stdout
    assert re.search(
        rf"the kernel killed the payload for lack of memory \(peak {said[1]} MB, limit {said[2]} MB\)", told
    ), told
