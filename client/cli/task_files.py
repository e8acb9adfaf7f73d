"""`bamboo task outputs`, `bamboo task logs` and `bamboo task metadata`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...core.errors import NotFound
from ...core.states import JobState
from ..text import printable
from .files import FILES, copy
from .logs import print_log
from .options import connected, formatted, ids_argument, listed, status_option
from .output import Output, first, note

if TYPE_CHECKING:
    from ..api import Client


@click.command()
@ids_argument("TASK")
@click.option("--dest", type=click.Path(file_okay=False, path_type=Path), help="Copy the files there and verify them.")
@listed
@connected
def outputs(client: Client, out: Output, ids: list[int], dest: Path | None, limit: int) -> None:
    """List the output files of tasks; with --dest, copy all of them there and verify size and checksum."""
    files = chain.from_iterable(client.task(task_id).outputs() for task_id in ids)
    if dest is None:
        out.rows(first(files, limit), FILES, id_key="lfn")
    else:
        copy(files, dest, out)


@click.command()
@click.argument("task_id", metavar="TASK", type=int)
@status_option(JobState, ",")
@click.option("--limit", type=click.IntRange(min=1), default=1, show_default=True, help="Logs of how many jobs.")
@click.option("--file", "names", multiple=True, metavar="NAME", help="Print this member of the log archive.")
@click.option("--tail", type=click.IntRange(min=1), metavar="LINES", help="Print only the last lines.")
@formatted
@connected
def logs(
    client: Client, out: Output, task_id: int, status: str | None, limit: int, names: tuple[str, ...], tail: int | None
) -> None:
    """Print what jobs of a task printed: failed jobs if there are any, otherwise finished ones."""
    states = (status,) if status else ("failed", "finished", "running")
    for state in states:
        jobs = list(client.jobs(task_id, status=state, limit=limit))
        if jobs:
            break
    else:
        raise NotFound(f"task {task_id} has no {' or '.join(states)} jobs", hint=f"see bamboo job list {task_id}")
    for listed_job in jobs:
        job = client.job(listed_job.job_id)
        causes = "; ".join(str(cause) for cause in job.causes)
        note(f"job {job.job_id} {job.status} at {job.queue}" + (f": {printable(causes)}" if causes else ""))
        print_log(job, out, names=names, tail=tail)


@click.command()
@click.argument("task_id", metavar="TASK", type=int)
@connected
def metadata(client: Client, task_id: int) -> None:
    """Print what jobs of a task left in `userJobMetadata.json`: one JSON object, by job id."""
    Output(as_json=True, quiet=False).json(client.metadata(task_id))
