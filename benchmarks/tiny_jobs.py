"""A task of many tiny jobs on `bamboo up`, from submission to done: python benchmarks/tiny_jobs.py [--postgres]

Prints jobs per second, and how many log lines speak of a locked database. The payload is `true` in the general
transform; beside it runs the limit: the same transform started as often, so many at a time, without a system around it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bamboo.admin.interrupt import interruptible
from bamboo.admin.state import StateFolder
from bamboo.admin.system import Plan, System, embedded_postgres
from bamboo.benchmarks.machine import facts
from bamboo.client import connect
from bamboo.client.polling import Poller
from bamboo.server.transforms import one_file


def bare_seconds(n_jobs: int, at_a_time: int, folder: Path) -> float:
    """How long the transforms alone take."""
    transform = folder / "run_gen.py"
    transform.write_bytes(one_file(transform.name))
    script = (
        f"seq {n_jobs} | xargs -P {at_a_time} -I N sh -c "
        f"'mkdir N && cd N && {sys.executable} {transform} -j \"\" --sourceURL http://x -r . -p true >/dev/null 2>&1'"
    )
    began = time.monotonic()
    subprocess.run(["bash", "-c", script], check=True, cwd=folder)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--pilots", type=int, default=4)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    print(facts())
    with interruptible(), ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="bamboo-bench-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        (root / "bare").mkdir()
        bare = bare_seconds(given.jobs, given.pilots, root / "bare")
        folder = StateFolder(root / "state")
        folder.make()
        url = stack.enter_context(embedded_postgres(folder.postgres)) if given.postgres else folder.sqlite_url
        system = System(Plan(folder, url, port=0, n_pilots=given.pilots))
        stack.callback(system.stop)
        system.start()
        began = time.monotonic()
        task = connect(system.url).run("true", n_jobs=given.jobs)
        info = task.wait(timeout_seconds=3600, poller=Poller(longest_seconds=1.0))
        seconds = time.monotonic() - began
        locked = sum(path.read_text(errors="replace").count("is locked") for path in folder.logs.glob("*.log"))
        print(f"{'PostgreSQL' if given.postgres else 'SQLite'}, {given.pilots} pilots: {info.state}, jobs {info.jobs}")
        print(f"{given.jobs} jobs in {seconds:.1f} s: {given.jobs / seconds:.1f} jobs/s; log lines of locks: {locked}")
        print(f"the bare transforms: {bare:.1f} s, {given.jobs / bare:.1f}/s; ratio {seconds / bare:.2f}")


if __name__ == "__main__":
    main()
