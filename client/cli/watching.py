"""Following tasks on the screen: progress by inputs, with rate and expected end. Leaving never ends a task."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from ..model import TaskInfo
from ..notebook import Drawing, in_notebook, one_place
from ..progress import Progress
from ..task import Task
from ..text import duration_text, printable
from .causes import print_errors
from .exits import Exit
from .output import note, say

CAUSES_AT_END = 3
Follower = Callable[[TaskInfo], None]


def pace(progress: Progress) -> str:
    """Rate and expected end, such as `3.2 inputs/s, 2 min to 4 min left`; empty while nothing has moved."""
    remaining = progress.remaining_seconds()
    if remaining is None:
        return ""
    rate = progress.rate_per_second
    speed = f"{rate:.1f} inputs/s" if rate >= 0.1 else f"{rate * 3600:.1f} inputs/h"
    earliest, latest = (duration_text(seconds) for seconds in remaining)
    return f"{speed}, {earliest} to {latest} left" if earliest != latest else f"{speed}, about {earliest} left"


def see(progress: Progress, info: TaskInfo) -> None:
    progress.see(time.monotonic(), info.n_files_finished + info.n_files_failed, info.n_files)


def plain_follower() -> Follower:
    """Writes one line whenever something has changed."""
    progress, told = Progress(), [""]

    def follow(info: TaskInfo) -> None:
        see(progress, info)
        if info.state != told[0]:
            told[0] = info.state
            left = "" if info.is_over else pace(progress)
            at = datetime.now(UTC).strftime("%H:%M:%S")
            note(f"{at} task {info.task_id} {info.state}" + (f", {left}" if left else ""))

    return follow


@contextmanager
def bar_follower(task_id: int) -> Iterator[Follower]:
    """Draws a bar on the terminal, and removes it at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    progress = Progress()
    columns = (TextColumn("task {task.fields[task_id]}"), BarColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("…", total=None, task_id=task_id)

        def follow(info: TaskInfo) -> None:
            see(progress, info)
            left = pace(progress)
            text = printable(info.state) + (f", {left}" if left and not info.is_over else "")
            bar.update(row, total=info.n_files or None, completed=progress.done, description=text)

        yield follow


def notebook_follower() -> Follower:
    """Draws a task in a notebook, again and again in the same place."""
    progress, draw = Progress(), one_place()

    def follow(info: TaskInfo) -> None:
        see(progress, info)
        draw(Drawing(info, "" if info.is_over else pace(progress)))

    return follow


@contextmanager
def follower(task_id: int) -> Iterator[Follower]:
    """The way to follow a task that fits where we are: in a notebook, on a terminal, or anywhere else."""
    if in_notebook():
        yield notebook_follower()
    elif sys.stderr.isatty():
        with bar_follower(task_id) as follow:
            yield follow
    else:
        yield plain_follower()


def follow_to_end(task: Task, timeout_seconds: float | None = None) -> TaskInfo:
    """Show a task until it is over; Ctrl-C leaves it running and says so. Raises `WaitTimedOut`."""
    try:
        with follower(task.task_id) as follow:
            return task.follow(follow) if timeout_seconds is None else task.wait(timeout_seconds, on_progress=follow)
    except KeyboardInterrupt:
        note(f"left task {task.task_id} running; bamboo task watch {task.task_id} comes back to it")
        raise


def tell_end(info: TaskInfo) -> None:
    """Say how a task ended, what its jobs failed on, and where to look next."""
    say(f"task {info.task_id} {info.state}")
    if info.is_success:
        note(f"next: bamboo task outputs {info.task_id} --dest .")
    else:
        if info.error:
            say(f"reason     {info.error}")
        print_errors(info, most=CAUSES_AT_END)
        note(f"next: bamboo why {info.task_id}   bamboo task show {info.task_id}   bamboo task logs {info.task_id}")


def exit_of_task(info: TaskInfo) -> Exit:
    return Exit.OK if info.is_success else Exit.FINISHED_WITH_FAILURES


def repeat(show: Callable[[], bool], watch_seconds: float | None) -> None:
    """Show once, or again every so many seconds until `show` says that nothing will change any more."""
    while True:
        if watch_seconds is not None:
            click.clear()
        over = show()
        if watch_seconds is None or over:
            return
        time.sleep(watch_seconds)
