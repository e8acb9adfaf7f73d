"""`bamboo queue`: see and change the queues that pilots work for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .lazy import LazyGroup
from .options import connected, formatted, listed
from .output import Column, Output, first, say, table

if TYPE_CHECKING:
    from ..api import Client
    from ..model import QueueChange, QueueInfo


def change_text(change: QueueChange) -> str:
    """What changed, as `maxrss 2000 → 4000, status online → test`."""
    return ", ".join(f"{key} {short(before)} → {short(after)}" for key, (before, after) in change.values.items())


def short(value: object) -> str:
    """A value in a line among others."""
    shown = "none" if value is None else str(value)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"


COLUMNS = (
    Column("QUEUE", lambda queue: queue.name),
    Column("STATUS", lambda queue: queue.status),
    Column("CORES", lambda queue: queue.core_count, right=True),
    Column("MEMORY MB", lambda queue: queue.max_rss_mb or "", right=True),
    Column("TIME s", lambda queue: queue.max_time_seconds or "", right=True),
    Column("JOBS", lambda queue: ", ".join(f"{number} {status}" for status, number in queue.jobs.items())),
)
ATTRIBUTES = (
    Column("ATTRIBUTE", lambda row: row[0]),
    Column("VALUE", lambda row: row[1]),
    Column("FROM", lambda row: row[2]),
)
CHANGES = (
    Column("WHEN", lambda change: change.at),
    Column("WHO", lambda change: change.actor),
    Column("WHAT", lambda change: change.what),
    Column("SOURCE", lambda change: change.source),
    Column("VALUES", change_text),
)


@click.group(cls=LazyGroup, lazy={})
def queue() -> None:
    """See and change the queues that pilots work for."""


@queue.command("list")
@click.option("--status", help="Only queues in this state.")
@listed
@connected
def list_queues(client: Client, out: Output, status: str | None, limit: int) -> None:
    """List queues and the jobs they have."""
    queues = [each for each in client.queues() if status in (None, each.status)]
    out.rows(first(queues, limit), COLUMNS, id_key="nickname")


@queue.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@formatted
@connected
def show(client: Client, out: Output, names: tuple[str, ...]) -> None:
    """Show every attribute of queues, and where each value is from."""
    queues = [client.queue(name) for name in names]
    if out.quiet:
        out.ids(each.name for each in queues)
    elif out.as_json:
        out.json(queues[0].row if len(queues) == 1 else [each.row for each in queues])
    else:
        for each in queues:
            print_queue(each)


def print_queue(found: QueueInfo) -> None:
    origins = found.row.get("origins") or {}
    table(ATTRIBUTES, [(key, value, origins.get(key)) for key, value in sorted(found.row.items()) if key != "origins"])
    click.echo()


@queue.command("set")
@click.argument("name", metavar="QUEUE")
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
@formatted
@connected
def set_attributes(client: Client, out: Output, name: str, settings: tuple[str, ...]) -> None:
    """Set attributes of a queue by hand, such as status=offline or maxrss=4000.

    They win over what is imported, until `bamboo queue unset` gives them back.
    """
    from .task_act import read_settings

    attributes = read_settings(settings)
    answer = client.set_queue(name, attributes)
    if out.as_json:
        out.json({"queue": name, "attributes": attributes, "message": answer})
    elif out.quiet:
        out.ids([name])
    else:
        say(f"{name}: {answer}")


@queue.command()
@click.argument("name", metavar="QUEUE")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@formatted
@connected
def unset(client: Client, out: Output, name: str, keys: tuple[str, ...]) -> None:
    """Give back what was set by hand: the imported value counts again, or the default."""
    answer = client.set_queue(name, {}, unset=keys)
    if out.as_json:
        out.json({"queue": name, "unset": list(keys), "message": answer})
    elif out.quiet:
        out.ids([name])
    else:
        say(f"{name}: {answer}")


@queue.command()
@click.argument("name", metavar="QUEUE")
@formatted
@connected
def remove(client: Client, out: Output, name: str) -> None:
    """Remove a queue that has no jobs and is in no imported document. Its history stays."""
    answer = client.remove_queue(name)
    if out.as_json:
        out.json({"queue": name, "message": answer})
    elif out.quiet:
        out.ids([name])
    else:
        say(f"{name}: {answer}")


@queue.command()
@click.argument("name", metavar="QUEUE")
@listed
@connected
def history(client: Client, out: Output, name: str, limit: int) -> None:
    """Show who changed a queue, when, and from what to what; newest first."""
    out.rows(client.queue_history(name, limit=limit), CHANGES, id_key="at")
