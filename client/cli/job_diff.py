"""`bamboo job diff`: two jobs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..text import printable
from .options import connected, formatted
from .output import Column, Output, heading, note, say, table

if TYPE_CHECKING:
    from ..api import Client
    from ..evidence import Comparison

#: So many lines of the last output of each are shown.
LINES_SHOWN = 15


@click.command()
@click.argument("job_id", metavar="JOB", type=int)
@click.argument("other_id", metavar="[OTHER]", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="Print what is the same, too.")
@formatted
@connected
def diff(client: Client, out: Output, job_id: int, other_id: int | None, everything: bool) -> None:
    """Say what differs between two jobs.

    Without OTHER it is a job of the same task that finished: with the same input if there is one, else with inputs of
    nearest size.
    """
    found = client.compare(job_id, other_id)
    lines = found.lines if everything else found.differences
    if out.quiet:
        out.ids(f"{line.part}: {line.name}" for line in lines)
    elif out.as_json:
        out.json({**found.row, "lines": [line.row for line in lines]})
    else:
        print_comparison(found, everything)


def print_comparison(found: Comparison, everything: bool) -> None:
    """The table of what differs (or of all), and how the output of each ended where that differs."""
    a, b = found.jobs
    if found.chosen:
        note(f"compared with job {b.job_id}: {found.chosen}")
    lines = found.lines if everything else found.differences
    if not lines:
        say(f"jobs {a.job_id} and {b.job_id} do not differ in anything that is compared")
        return
    columns = (
        Column("PART", lambda line: line.part),
        Column("WHAT", lambda line: line.name),
        Column(f"JOB {a.job_id}", lambda line: line.a or "-"),
        Column(f"JOB {b.job_id}", lambda line: line.b or "-"),
        *((Column("DIFFERS", lambda line: "yes" if line.differs else ""),) if everything else ()),
    )
    table(columns, lines)
    tails = found.stdout_tails
    if tails[0] != tails[1]:
        for job, tail in zip(found.jobs, tails, strict=True):
            if tail:
                heading(f"Last output of job {job.job_id} ({printable(job.status)})")
                click.echo(printable("\n".join(tail.rstrip().splitlines()[-LINES_SHOWN:]), lines=True))
