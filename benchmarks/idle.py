"""What an idle system costs: the memory and processor time of each process of `bamboo up`.

Memory is PSS, which counts a page that several processes share once; processor time is in percent of one core. A task
of one job is run first, so that every part has loaded what its work needs. Beside it: as many bare interpreters that
only sleep. PostgreSQL's own processes are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bamboo.client import connect
from bamboo.client.polling import Poller

from .measuring import Setting
from .processes import read_all
from .report import Report

LONGEST_SECONDS = 600.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Sizes:
    seconds: float = 60.0
    settle_seconds: float = 15.0  #: after its task
    pilots: int = 2


QUICK = Sizes(seconds=1.0, settle_seconds=0.5, pilots=1)


def run(setting: Setting, sizes: Sizes) -> Report:
    """The processes one by one, then all together, then as many bare interpreters."""
    report = Report(watched={"MiB": -1, "percent of a core": -1, "of bare": -1})
    state = setting.databases.folder / "state"
    with ExitStack() as stack:
        url = stack.enter_context(setting.databases.new())
        options = ["--state", str(state), "--port", "0", "--pilots", str(sizes.pilots), "--db", url]
        up = stack.enter_context(_running([sys.executable, "-m", "bamboo", "up", *options]))
        if "is up at" not in _said(up):
            raise SystemExit("the system did not start")
        if sizes.pilots:
            task = connect((state / "url").read_text().strip()).run("true", n_jobs=1)
            task.wait(timeout_seconds=LONGEST_SECONDS, poller=Poller(longest_seconds=1.0))
        time.sleep(sizes.settle_seconds)
        n, total_mb = _measure(report, up.pid, sizes.seconds)
    bare = _bare_mb(n)
    report.add(f"{n} bare interpreters", {"MiB": bare})
    report.add("all, beside them", {"of bare": total_mb / bare})
    return report


def _measure(report: Report, root: int, seconds: float) -> tuple[int, float]:
    """Enter what each process of a tree holds and uses; returns how many there are, and their memory in MiB."""
    began, before = time.monotonic(), read_all([root])
    time.sleep(seconds)
    after, elapsed = read_all([root]), time.monotonic() - began
    used = {pid: now.cpu_seconds - before[pid].cpu_seconds for pid, now in after.items() if pid in before}
    seen: Counter[str] = Counter()
    for pid, now in after.items():
        seen[now.name] += 1
        share = {"percent of a core": 100 * used[pid] / elapsed} if pid in used else {}
        report.add(f"{now.name} {seen[now.name]}", {"MiB": now.pss_kb / 1024, **share})
    if before.keys() != after.keys():
        report.notes.append(f"{len(before.keys() ^ after.keys())} processes came or went: not in the sum of time")
    total_mb = sum(now.pss_kb for now in after.values()) / 1024
    report.add("all", {"MiB": total_mb, "percent of a core": 100 * sum(used.values()) / elapsed})
    return len(after), total_mb


def _bare_mb(n_processes: int) -> float:
    """The memory of so many interpreters that only sleep, in MiB."""
    with ExitStack() as stack:
        program = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]
        sleepers = [stack.enter_context(_running(program)) for _ in range(n_processes)]
        for sleeper in sleepers:
            _said(sleeper)
        return sum(one.pss_kb for one in read_all([sleeper.pid for sleeper in sleepers]).values()) / 1024


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that is told to end when the block ends."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _said(process: subprocess.Popen[str]) -> str:
    """The next line that a command says."""
    return process.stdout.readline() if process.stdout else ""
