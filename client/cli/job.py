"""`bamboo job`: the jobs of a task, one job in full, its log."""

from __future__ import annotations

import sys
from copy import copy
from typing import TYPE_CHECKING

import click

from ...core.states import JOBS, JobState
from ..text import bytes_text, count_text, printable
from .lazy import LazyGroup
from .options import connected, formatted, ids_argument, listed, status_option, watch_option
from .output import Column, Output, first, heading, note, table
from .task_show import STEPS, print_line
from .watching import repeat

if TYPE_CHECKING:
    from ..api import Client
    from ..model import JobFault, JobInfo

COLUMNS = (
    Column("ID", lambda job: job.job_id, right=True),
    Column("STATUS", lambda job: job.status),
    Column("QUEUE", lambda job: job.queue),
    Column("ATTEMPT", lambda job: job.attempt_nr, right=True),
    Column("CREATED (UTC)", lambda job: job.created),
    Column("ENDED (UTC)", lambda job: job.ended),
    Column("ERROR", lambda job: "; ".join(str(cause) for cause in job.causes)),
)
FILES = (
    Column("TYPE", lambda file: file.type),
    Column("LFN", lambda file: file.lfn),
    Column("STATUS", lambda file: file.status),
    Column("SIZE", lambda file: bytes_text(file.size_bytes), right=True),
    Column("URL", lambda file: file.url),
)


@click.group(
    cls=LazyGroup,
    lazy={
        "diff": ("bamboo.client.cli.job_diff:diff", "What differs from a sibling that finished, or from another job."),
        "reproduce": ("bamboo.client.cli.job_reproduce:reproduce", "Make a folder that runs the same payload here."),
    },
)
def job() -> None:
    """See the jobs of a task and their logs."""


@job.command("list")
@click.argument("task_id", metavar="TASK", type=int)
@status_option(JobState, ",")
@watch_option
@listed
@connected
def list_jobs(
    client: Client, out: Output, task_id: int, status: str | None, limit: int, watch_seconds: float | None
) -> None:
    """List the jobs of a task."""

    def show_once() -> bool:
        jobs = first(client.jobs(task_id, status=status, limit=limit + 1), limit)
        out.rows(jobs, COLUMNS, id_key="PandaID")
        return bool(jobs) and all(each.status in JOBS.final for each in jobs)

    repeat(show_once, watch_seconds)


@job.command()
@ids_argument("JOB")
@watch_option
@formatted
@connected
def show(client: Client, out: Output, ids: list[int], watch_seconds: float | None) -> None:
    """Show jobs: state, errors, files, steps, and the last output."""

    def show_once() -> bool:
        jobs = [client.job(job_id) for job_id in ids]
        if out.quiet:
            out.ids(each.job_id for each in jobs)
        elif out.as_json:
            out.json(jobs[0].row if len(jobs) == 1 else [each.row for each in jobs])
        else:
            for each in jobs:
                print_job(each)
        return all(each.status in JOBS.final for each in jobs)

    repeat(show_once, watch_seconds)


@job.command()
@click.argument("job_id", metavar="JOB", type=int)
@click.option("--file", "names", multiple=True, metavar="NAME", help="Print this member of the log archive.")
@click.option("--list", "listing", is_flag=True, help="List the members of the log archive.")
@click.option("--tail", type=click.IntRange(min=1), metavar="LINES", help="Print only the last lines.")
@click.option("--follow", "-f", is_flag=True, help="Print what it prints while it runs, until its end.")
@formatted
@connected
def log(
    client: Client,
    out: Output,
    job_id: int,
    names: tuple[str, ...],
    listing: bool,
    tail: int | None,
    follow: bool,
) -> None:
    """Print what the payload of a job printed, or other files of its log archive."""
    if follow and (names or listing or tail):
        raise click.UsageError("--follow goes with neither --file nor --list nor --tail")
    if not follow or not follow_output(client, job_id, out):
        print_log_of(client.job(job_id), out, names, listing, tail)


logs = copy(log)
logs.name = "logs"
job.add_command(logs)


def follow_output(client: Client, job_id: int, out: Output) -> bool:
    """Print the output of a job as it comes, each stream to its own; whether there was any."""
    from ..live import END

    has_any = False
    for event in client.job_output(job_id):
        if event.name == END:
            note(f"job {job_id} {event.data.get('status', '')}")
            break
        has_any = True
        if missing := event.data.get("missing"):
            note(f"[{missing} bytes of {event.name} are not known any more]")
        if out.as_json:
            out.json({"stream": event.name, "text": event.data["text"]})
        else:
            print_piece(str(event.data["text"]), is_error=event.name == "stderr")
    return has_any


def print_piece(text: str, *, is_error: bool) -> None:
    """A piece of an output, which need not be a whole line; on a terminal without what that would obey."""
    sink = sys.stderr if is_error else sys.stdout
    click.echo(printable(text, lines=True) if sink.isatty() else text, nl=False, err=is_error)


def print_log_of(found: JobInfo, out: Output, names: tuple[str, ...], listing: bool, tail: int | None) -> None:
    from .logs import print_log

    print_log(found, out, names=names, tail=tail, listing=listing)


def print_fault(fault: JobFault) -> None:
    """An error of a job: what was said, what the code means, and who must act."""
    print_line("error", f"{fault.source} {fault.code}" + (f": {fault.diag}" if fault.diag else ""))
    if fault.who or fault.meaning:
        actor = f"[{fault.who} must act]" if fault.who else ""
        print_line("", f"{fault.meaning} {actor}".strip())


def asked_for(found: JobInfo) -> str:
    """What a job wants of a machine, such as `2 cores, 4000 MB of memory, 3600 s`; what is not said is left out."""
    needs = (
        (found.core_count, count_text(found.core_count, "core")),
        (found.ram_mb, f"{found.ram_mb} MB of memory"),
        (found.max_walltime_seconds, f"{found.max_walltime_seconds} s of wall time"),
        (found.max_disk_mb, f"{found.max_disk_mb} MB of disk"),
    )
    return ", ".join(text for number, text in needs if number)


def print_job(found: JobInfo) -> None:
    """One job on the screen."""
    click.secho(f"job {found.job_id}  task {found.task_id}", bold=True)
    print_line("status", found.status)
    for fault in found.faults:
        print_fault(fault)
    for cause in () if found.faults else found.causes:
        print_line("error", cause)
    print_line("retry rule", found.retry_rule)
    print_line("asked for", asked_for(found))
    print_line("queue", found.queue)
    print_line("node", found.node)
    print_line("attempt", found.attempt_nr)
    print_line("created", found.created)
    print_line("started", found.started)
    print_line("ended", found.ended)
    print_line("memory", bytes_text(found.max_rss_kb / 1024 * 1e6) if found.max_rss_kb else "")
    print_line("cpu", f"{found.cpu_seconds:.0f} s" if found.cpu_seconds else "")
    print_line("arguments", found.parameters)
    if found.files:
        heading("Files")
        table(FILES, found.files)
    if found.events:
        heading("Steps")
        table(STEPS, found.events)
    if found.stdout_tail:
        heading("Last output")
        click.echo(printable(found.stdout_tail, lines=True))
    click.echo()
