"""A task of many tiny jobs on `bamboo up`, from submission to done.

The payload is `true` in the general transform. Beside it the limit: the same transform started as often, so many at a
time, without a system around it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bamboo.client import connect
from bamboo.client.polling import Poller
from bamboo.server.transforms import one_file

from .measuring import Setting
from .report import Report
from .turnaround import system_up

LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Sizes:
    jobs: int = 2000
    pilots: int = 4


QUICK = Sizes(jobs=4, pilots=2)


def run(setting: Setting, sizes: Sizes) -> Report:
    """The bare transforms, then the task."""
    report = Report(watched={"jobs/s": 1, "of bare": 1})
    folder = setting.databases.folder / "bare"
    folder.mkdir()
    bare = _bare_seconds(sizes, folder)
    with system_up(setting, "tiny", n_pilots=sizes.pilots) as system:
        began = time.monotonic()
        task = connect(system.url).run("true", n_jobs=sizes.jobs)
        info = task.wait(timeout_seconds=LONGEST_SECONDS, poller=Poller(longest_seconds=1.0))
        seconds = time.monotonic() - began
        logs = system.plan.state.logs.glob("*.log")
        locked = sum(path.read_text(errors="replace").count("is locked") for path in logs)
    rate = sizes.jobs / seconds
    figures = {"jobs/s": rate, "seconds": seconds, "of bare": rate * bare / sizes.jobs}
    report.add(f"task of {sizes.jobs} jobs, {info.state}", figures)
    report.add("the bare transforms", {"jobs/s": sizes.jobs / bare, "seconds": bare})
    report.notes.append(f"log lines that speak of a locked database: {locked}")
    return report


def _bare_seconds(sizes: Sizes, folder: Path) -> float:
    """How long the transforms alone take."""
    transform = folder / "run_gen.py"
    transform.write_bytes(one_file(transform.name))
    script = (
        f"seq {sizes.jobs} | xargs -P {sizes.pilots} -I N sh -c "
        f"'mkdir N && cd N && {sys.executable} {transform} -j \"\" --sourceURL http://x -r . -p true >/dev/null 2>&1'"
    )
    began = time.monotonic()
    subprocess.run(["bash", "-c", script], check=True, cwd=folder)
    return time.monotonic() - began
