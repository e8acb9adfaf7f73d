"""Printing the logs of jobs, for `job log` and `task logs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..text import bytes_text, printable
from .output import Column, Output, note, say, table

if TYPE_CHECKING:
    from ..logs import LogArchive, LogMember
    from ..model import JobInfo

MEMBERS = (
    Column("SIZE", lambda member: bytes_text(member.size_bytes), right=True),
    Column("FILE", lambda member: member.path),
)


def print_log(job: JobInfo, out: Output, *, names: tuple[str, ...], tail: int | None, listing: bool = False) -> None:
    """Print members of a job's log archive: those named, or what the payload printed; or list all.

    A job without a log archive still has the last output that its pilot sent.
    """
    from ..errors import NoSuchFile
    from ..logs import open_log

    try:
        with open_log(job) as archive:
            if listing:
                print_listing(archive, out)
            else:
                print_members(archive, chosen(archive, job, names), out, tail)
    except NoSuchFile as error:
        if not job.stdout_tail or names or listing:
            raise
        note(f"{error.message}; this is the last output its pilot sent")
        click.echo(printable(job.stdout_tail, lines=True))


def print_listing(archive: LogArchive, out: Output) -> None:
    members = archive.members
    if out.as_json:
        out.json([{"name": member.path, "size_bytes": member.size_bytes} for member in members])
    elif out.quiet:
        out.ids(member.path for member in members)
    else:
        table(MEMBERS, members)


def chosen(archive: LogArchive, job: JobInfo, names: tuple[str, ...]) -> list[LogMember]:
    """The members to print. Raises `NoSuchFile` for a name that is not in the archive."""
    from ..errors import NoSuchFile
    from ..logs import PAYLOAD_STREAMS

    if not names:
        return [member for name in PAYLOAD_STREAMS if (member := archive.find(name))]
    found = []
    for name in names:
        member = archive.find(name)
        if member is None:
            raise NoSuchFile(f"there is no {name} in the log of job {job.job_id}", hint="--list shows what there is")
        found.append(member)
    return found


def print_members(archive: LogArchive, members: list[LogMember], out: Output, tail: int | None) -> None:
    texts = {member.path: last_lines(archive.content(member), tail) for member in members}
    if out.as_json:
        out.json({path: content.decode("utf-8", "replace") for path, content in texts.items()})
        return
    for member in members:
        content = texts[member.path]
        if len(members) > 1:
            say(f"==> {member.name} <==")
        if sys.stdout.isatty():
            click.echo(printable(content.decode("utf-8", "replace"), lines=True), nl=not content.endswith(b"\n"))
        else:
            click.echo(content, nl=bool(content) and not content.endswith(b"\n"))


def last_lines(content: bytes, tail: int | None) -> bytes:
    return content if tail is None else b"".join(content.splitlines(keepends=True)[-tail:])
