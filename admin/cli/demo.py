"""`bamboo demo`: the whole system, one real task, its outputs."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import click

from ...client import Task, TaskInfo, connect
from ...client.cli.watching import follower
from ...core import logs
from ..demo import Counted, check, fetch_outputs, input_files, run_demo, table
from ..interrupt import Interrupted, interruptible
from ..state import CACHE_TAG, StateFolder
from ..system import Plan, System, embedded_postgres


@click.command()
@click.option(
    "--in", "in_folder", type=click.Path(path_type=Path), help="Files to process. Default: Python's own sources."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bamboo-demo"),
    show_default=True,
    help="Folder for everything the demo makes; what an earlier demo left there is removed first.",
)
@click.option("--postgres", is_flag=True, help="On an embedded PostgreSQL instead of SQLite (extra `postgres`).")
@click.option("--pilots", default=2, show_default=True, type=click.IntRange(1, 64), help="Local pilots.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Port of the server; 0 (default) takes a free one."
)
def demo(in_folder: Path | None, state: Path, postgres: bool, pilots: int, port: int) -> None:
    """Start everything on this machine, run a real task over real files, check and show its outputs, and stop.

    The exit status is 0 only if every input was processed once and every output has the right checksum.
    """
    logs.configure("demo", level="WARNING")
    inputs = input_files(in_folder)
    folder = StateFolder(state.resolve())
    _refuse_other_things(folder)
    with interruptible(), ExitStack() as stack:
        try:
            stack.enter_context(folder.held())
            _refuse_users_folder(folder)  # only now: a system that is up in it is told as such
            _empty(folder)
            folder.demo_marker.touch()
            url = stack.enter_context(embedded_postgres(folder.postgres)) if postgres else folder.sqlite_url
            system = System(Plan(folder, url, port=port, n_pilots=pilots))
            stack.callback(system.stop)
            _show(system, inputs)
        except Interrupted as interrupted:
            click.echo(f"{interrupted}: stopping ...", err=True)
            raise


def _show(system: System, inputs: dict[str, Path]) -> None:
    began = time.monotonic()
    system.start()
    click.echo(f"Bamboo is up at {system.url}: server, JEDI, daemon and {system.plan.n_pilots} pilots")
    click.echo(f"{len(inputs)} files to process")
    counted = run_demo(connect(system.url, token=system.user_token()), inputs, _follow)
    outputs = system.plan.state.root / "outputs"
    check(counted, inputs)
    fetch_outputs(counted, outputs)
    _print_table(counted)
    n_lines = sum(entry["lines"] for entry in counted.files.values())
    click.echo(
        f"done: {len(inputs)} files with {n_lines} lines, each accounted for once, by {counted.n_jobs} jobs "
        f"in {time.monotonic() - began:.1f} s; {len(counted.outputs)} outputs with right checksums in {outputs}"
    )


def _follow(task: Task) -> TaskInfo:
    with follower(task.task_id) as follow:
        info = task.wait(on_progress=follow)
    click.echo(f"task {task.task_id} {info.state}")
    return info


def _print_table(counted: Counted) -> None:
    click.echo(f"{'most common identifiers':<40}largest files (lines)")
    for left, right in table(counted):
        click.echo(f"{left:<40}{right}")


def _refuse_other_things(folder: StateFolder) -> None:
    """Refuse a folder that holds anything but what a system leaves."""
    ours = {"bamboo.db", "bamboo.db-wal", "bamboo.db-shm", "cache", "storage", "logs", "pilots", "postgres", "outputs"}
    ours |= {"auth", "client", "url", folder.lock.name, CACHE_TAG, folder.demo_marker.name}
    if foreign := sorted(_names_in(folder) - ours):
        raise click.UsageError(f"{folder.root} holds other things, such as {foreign[0]}: name another --state folder")


def _refuse_users_folder(folder: StateFolder) -> None:
    """Refuse a folder that an earlier demo did not make: in that of a `bamboo up` are tasks of users."""
    if _names_in(folder) - {folder.lock.name} and not folder.demo_marker.exists():
        raise click.UsageError(
            f"{folder.root} was not made by bamboo demo, which empties its folder first: name another --state folder, "
            "or remove this one yourself if nothing in it is needed"
        )


def _names_in(folder: StateFolder) -> set[str]:
    return {path.name for path in folder.root.iterdir()} if folder.root.exists() else set()


def _empty(folder: StateFolder) -> None:
    """Remove what an earlier demo left, but for the lock, which we hold, and the marker, in case we are stopped."""
    for path in folder.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in (folder.lock, folder.demo_marker):
            path.unlink()
