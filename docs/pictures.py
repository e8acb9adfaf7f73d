"""`make pictures`: pictures of the pages for the documentation, of a real system with real tasks of several kinds.

Three users work on two queues under shares. A task ends well; one loses jobs at a queue that lacks a library, and to
inputs that are empty; one takes more and more memory; one wants more of it than any machine has; a child follows its
parent; two long ones still run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from browser import browser
from patience import PATIENCE_SECONDS, eventually
from playwright.sync_api import Browser
from rich.console import Console
from systems import RunningSystem

from bamboo.admin.state import StateFolder
from bamboo.admin.system import STORAGE
from bamboo.client import Client, Task, connect
from bamboo.client.cli.top import screen

PICTURES = Path(__file__).with_name("pictures")
WIDTH = 1180
#: A heavier picture slows down the page that shows it.
MOST_BYTES = 150_000
SECOND_QUEUE = "NORTH"
SHARES = (("analysis", "value=40"), ("simulation", "value=60", "working_group=mc"))
BOB = "user.bob.run1.v7"
#: What most jobs at the second queue say after a while.
NO_LIBRARY = (
    f"sleep 2; if [ $PANDA_RESOURCE = {SECOND_QUEUE} ] && [ $((PandaID % 5)) -gt 0 ]; then"
    " echo 'libtracks.so.3: cannot open shared object file' >&2; exit 127; fi"
)

#: Takes a few megabytes every now and then, until it is ended.
LEAK = "import time; kept = [(b'x' * 4_000_000, time.sleep(0.5)) for _ in range(120)]"


def main() -> None:
    """Start, work, look, stop."""
    with TemporaryDirectory(prefix="bamboo-pictures-") as folder:
        system = RunningSystem(Path(folder), ["--pilots", "2"], {}).start()
        try:
            with second_queue(system):
                take_all(system, *begin(system))
        finally:
            system.stop()


@contextmanager
def second_queue(system: RunningSystem) -> Iterator[None]:
    """Shares, and another queue beside the local one with a pilot of its own."""
    database = {"BAMBOO_DATABASE__URL": StateFolder(system.folder / "state").sqlite_url}
    for share in SHARES:
        system.run("share", "set", *share, environ=database).check_returncode()
    system.client.set_queue(SECOND_QUEUE, {"site": SECOND_QUEUE, "storage": STORAGE, "maxrss": 8000, "corecount": 8})
    home = system.folder / "north"
    home.mkdir()
    options = ["-q", SECOND_QUEUE, "-s", SECOND_QUEUE, "-j", "user", "-a", str(home), "--url", system.url, "-v", "0"]
    options += ["--poll-seconds", "1", "--longest-poll-seconds", "2", "--timefloor", "-1", "--lifetime", "3600"]
    with (home / "pilot.out").open("wb") as sink:
        pilot = subprocess.Popen([sys.executable, "-m", "bamboo.pilot", *options], stdout=sink, stderr=sink, cwd=home)
    try:
        yield
    finally:
        pilot.terminate()
        pilot.wait()


def begin(system: RunningSystem) -> tuple[Task, Task]:
    """Submit everything, and wait for what shall be over; gives the tasks that lack a library, and memory."""
    alice, bob, carol = (connect(system.url, user=name) for name in ("alice", "bob", "carol"))
    write_files(system.folder / "run1")
    system.run("dataset", "add", "user.alice.run1", str(system.folder / "run1")).check_returncode()
    run1: dict[str, Any] = {"in_ds": ("user.alice.run1",), "n_files_per_job": 1}
    simulation: dict[str, Any] = {"working_group": "mc", "skip_scout": True}
    over = [
        alice.run("wc -l < %IN > n.txt", **run1, outputs=("n.txt",), out_ds="user.alice.count.v1"),
        alice.run(
            f"{NO_LIBRARY}; test ! -s %IN || sort %IN > tracks.txt",
            **run1,
            outputs=("tracks.txt",),
            max_attempt=3,
            out_ds="user.alice.reconstruction.v2",
        ),
    ]
    leak = alice.run(
        f'python3 -c "{LEAK}"', n_jobs=3, memory_mb=50, max_attempt=1, skip_scout=True, out_ds="user.alice.fit.v3"
    )
    carol.run("./train", n_jobs=4, memory_mb=9_000_000, out_ds="user.carol.training.v1")
    parent = bob.run("seq 1000 > hits.txt", n_jobs=6, outputs=("hits.txt",), out_ds=f"{BOB}.generation", **simulation)
    child = bob.run(
        "tail -n 500 %IN > digits.txt",
        in_ds=(f"{BOB}.generation_hits.txt/",),
        n_files_per_job=1,
        outputs=("digits.txt",),
        parent_task_id=parent.task_id,
        out_ds=f"{BOB}.digitisation",
        **simulation,
    )
    for task in (*over, leak, child):
        task.wait(timeout_seconds=PATIENCE_SECONDS)
    long: dict[str, Any] = {"n_jobs": 60, "outputs": ("hits.txt",), "skip_scout": True}
    work = "sleep $((5 + PandaID % 7)); date > hits.txt"
    bob.run(work, site=("LOCAL",), working_group="mc", out_ds=f"{BOB}.simulation", **long)
    carol.run(work, site=(SECOND_QUEUE,), out_ds="user.carol.toys.v1", **long)
    return over[1], leak


def write_files(folder: Path) -> None:
    """The files of a run, of which two are empty."""
    folder.mkdir()
    for number in range(24):
        text = "" if number in (7, 19) else "".join(f"event {event}\n" for event in range(100 * (number + 1)))
        (folder / f"{folder.name}.{number:03}.txt").write_text(text)


def take_all(system: RunningSystem, task: Task, leak: Task) -> None:
    """Take every picture, when there is something on each."""
    alice = connect(system.url, user="alice")
    eventually(lambda: len(alice.dashboard()["causes"]) > 2, "sums of what ended, which are made now and then")
    job = next(iter(leak.jobs("failed")))
    with browser() as chromium:
        context = chromium.new_context(viewport={"width": WIDTH, "height": 0})
        page = context.new_page()
        page.goto(f"{alice.web_address()}&page=/")
        for name, path, what, height in (
            ("dashboard", "/?hours=1", "figure[data-drawn]", 900),
            ("task", f"/task/{task.task_id}/", "#contrasts", 850),
            ("job", f"/job/{job.job_id}/", "figure", 1060),
            ("errors", "/errors/?hours=1", "figure[data-drawn]", 800),
        ):
            page.set_viewport_size({"width": WIDTH, "height": height})
            page.goto(system.url + path)
            page.wait_for_selector(what)
            keep(name, page.screenshot())
        keep("top", picture_of_terminal(chromium, alice))


def picture_of_terminal(chromium: Browser, client: Client) -> bytes:
    """`bamboo top` as a terminal shows it."""
    console = Console(record=True, width=118, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(screen(client))
    page = chromium.new_context(offline=True).new_page()  # the drawing names a font from elsewhere: nothing is fetched
    page.set_content(console.export_svg(title="bamboo top"))
    return page.locator("svg").first.screenshot(omit_background=True)


def keep(name: str, picture: bytes) -> None:
    """Write a picture beside the documentation."""
    if len(picture) > MOST_BYTES:
        raise ValueError(f"{name} has {len(picture)} bytes, more than {MOST_BYTES}")
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.png").write_bytes(picture)


if __name__ == "__main__":
    main()
