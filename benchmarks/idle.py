"""What an idle `bamboo up` costs: python benchmarks/idle.py [--seconds 60] [--pilots 2] [--postgres]

Prints the memory and the processor time of each process and of all: memory as PSS, which counts a page that several
processes share once, processor time in percent of one core. A task of one job is run first, so that every part has
loaded what its work needs. Beside them stands the memory of as many bare interpreters that only sleep.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bamboo.benchmarks.machine import facts
from bamboo.client import connect
from bamboo.client.polling import Poller

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
#: How long a system gets to settle after its task.
SETTLE_SECONDS = 15.0


@dataclass(frozen=True)
class Reading:
    """A process at a moment: what it is, its memory in kB and the processor time it has used, in seconds."""

    name: str
    pss_kb: int
    cpu_seconds: float


def descendants(pid: int) -> Iterator[int]:
    """The processes that descend from one, and itself."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from descendants(int(child))


def read(pid: int) -> Reading:
    folder = Path(f"/proc/{pid}")
    rollup = (folder / "smaps_rollup").read_text().splitlines()
    pss_kb = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    # After the name, which may hold anything: fields 14 to 17 of proc(5), own and reaped children's ticks.
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
    words = (folder / "cmdline").read_text().split("\0")
    modules = [word for word in words[1:] if word and not word.startswith("-")]
    return Reading(" ".join(modules[:2]), pss_kb, sum(map(int, ticks)) / TICKS_PER_SECOND)


def bare_mb(n_processes: int) -> float:
    """The memory of so many interpreters that only sleep, in MiB."""
    with ExitStack() as stack:
        program = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]
        sleepers = [stack.enter_context(running(program)) for _ in range(n_processes)]
        for sleeper in sleepers:
            said(sleeper)
        return sum(read(sleeper.pid).pss_kb for sleeper in sleepers) / 1024


def measure(root: int, seconds: float) -> None:
    """Print what each process of a tree holds, and what it uses in that time."""
    before = {pid: read(pid) for pid in descendants(root)}
    began = time.monotonic()
    time.sleep(seconds)
    after = {pid: read(pid) for pid in descendants(root)}
    elapsed = time.monotonic() - began
    used = {pid: now.cpu_seconds - before[pid].cpu_seconds for pid, now in after.items() if pid in before}
    for pid, now in after.items():
        share = f"{100 * used[pid] / elapsed:6.2f} %" if pid in used else "     new"
        print(f"{now.pss_kb / 1024:7.1f} MiB {share}  {now.name}")
    if before.keys() != after.keys():
        print(f"{len(before.keys() ^ after.keys())} processes came or went: their time is not in the sum")
    total_mb = sum(now.pss_kb for now in after.values()) / 1024
    print(f"{total_mb:7.1f} MiB {100 * sum(used.values()) / elapsed:6.2f} %  all {len(after)}")
    bare = bare_mb(len(after))
    print(f"{bare:7.1f} MiB           as many bare interpreters; ratio {total_mb / bare:.1f}")


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that is told to end when the block ends."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a command says."""
    return process.stdout.readline() if process.stdout else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pilots", type=int, default=2)
    parser.add_argument("--postgres", action="store_true", help="leaves PostgreSQL's own processes out")
    given = parser.parse_args()
    print(facts())
    with ExitStack() as stack:
        state = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bamboo-bench-", ignore_cleanup_errors=True))
        )
        options = ["--state", str(state), "--port", "0", "--pilots", str(given.pilots)]
        command = [sys.executable, "-m", "bamboo", "up", *options, *(["--postgres"] if given.postgres else [])]
        up = stack.enter_context(running(command))
        if "is up at" not in said(up):
            raise SystemExit("the system did not start")
        url = (state / "url").read_text().strip()
        if given.pilots:
            connect(url).run("true", n_jobs=1).wait(timeout_seconds=600, poller=Poller(longest_seconds=1.0))
        time.sleep(SETTLE_SECONDS)
        measure(up.pid, given.seconds)


if __name__ == "__main__":
    main()
