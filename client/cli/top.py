"""`bamboo top`: the whole system on one screen, which is drawn again until somebody presses q."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..rows import integer, real, text
from ..text import count_text, printable
from .options import connected, formatted
from .output import Column, Output, heading, say, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..api import Client

#: Rows of each listing on the screen.
MOST = 8
#: The colours of states that PanDA's monitor has made known; others have none.
COLOURS = {
    "done": "green",
    "finished": "green",
    "running": "bright_green",
    "activated": "cyan",
    "assigned": "cyan",
    "defined": "blue",
    "pending": "yellow",
    "sent": "yellow",
    "starting": "yellow",
    "holding": "dark_orange",
    "exhausted": "dark_orange",
    "failed": "red",
    "broken": "red",
}
Listing = tuple[str, list[tuple[str, int]]]
Row = Mapping[str, Any]


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=5, show_default=True, help="Draw it again every so many seconds."
)
@formatted
@connected
def top(client: Client, out: Output, seconds: float) -> None:
    """Show tasks and jobs by state, who runs how much, and how jobs have ended lately; q leaves.

    Where nobody looks (a pipe, a file) it is printed once.
    """
    if out.as_json or out.quiet:
        out.json(client.dashboard())
    elif sys.stdin.isatty() and sys.stdout.isatty():
        draw(client, seconds)
    else:
        print_once(client.dashboard())


def listings(row: Row) -> list[Listing]:
    """What there is to count, each with a title, the largest first."""
    found = [("TASKS", {one["status"]: one["n"] for one in row.get("tasks") or ()}), ("JOBS", row.get("jobs") or {})]
    for kind, name in (("queue", "QUEUE"), ("user_name", "USER"), ("gshare", "SHARE")):
        counts = (row.get("running") or {}).get(kind) or ()
        found.append((f"RUNNING BY {name}", {one["name"]: one["n_jobs"] for one in counts}))
    return [
        (title, sorted(((str(name), integer(n)) for name, n in counts.items()), key=lambda one: -one[1]))
        for title, counts in found
    ]


def throughput(row: Row) -> str:
    """How jobs have ended lately, such as `last hour: 120 finished, 3 failed, 2.0 jobs/min`."""
    ended, hours = row.get("ended") or {}, real(row.get("hours")) or 1
    when = "last hour" if hours == 1 else f"last {hours:g} hours"
    if not ended:
        return f"{when}: no job has ended"
    words = ", ".join(f"{n} {status}" for status, n in sorted(ended.items(), key=lambda one: -integer(one[1])))
    return f"{when}: {words}, {sum(map(integer, ended.values())) / hours / 60:.1f} jobs/min"


def failures(row: Row) -> list[str]:
    """The causes of failures lately, the most frequent first."""
    lines = []
    for one in row.get("causes") or ():
        actor = f" [{text(one.get('who'))} must act]" if one.get("who") else ""
        cause = f"{text(one.get('cause')) or 'no code'}: {text(one.get('meaning'))}"
        lines.append(f"{count_text(integer(one.get('n')), 'job')}: {cause}{actor}")
    return lines


def print_once(row: Row) -> None:
    """Everything, one listing below the other."""
    say(throughput(row))
    for title, counts in listings(row):
        heading(title)
        table([Column("NAME", lambda one: one[0]), Column("NUMBER", lambda one: one[1], right=True)], counts)
    if lines := failures(row):
        heading("FAILURES")
        for line in lines:
            say(line)


def draw(client: Client, seconds: float) -> None:
    """Draw the screen over and over, until q or Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    with keys() as pressed, Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(client), refresh=True)
            if pressed(seconds) in ("q", "Q", "\x03"):
                return


def screen(client: Client) -> RenderableType:
    """One picture; while the server is away, what is the matter."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from ..errors import ServerUnreachable

    try:
        row = client.dashboard()
    except ServerUnreachable as error:
        return Text(printable(f"{error.message}; q leaves"), style="red")
    title = Text(f"bamboo top  {client.transport.url}", style="bold")
    columns = Columns([listed(name, counts) for name, counts in listings(row)], padding=(1, 3))
    lines = [Text(printable(line), overflow="ellipsis", no_wrap=True) for line in failures(row)[:MOST]]
    causes = [Text("FAILURES", style="bold"), *lines] if lines else []
    return Group(title, Text(throughput(row)), columns, *causes, Text("\nq leaves", style="dim"))


def listed(title: str, counts: Sequence[tuple[str, int]]) -> RenderableType:
    """One listing, with the colours of states."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    drawn.add_column(title, overflow="ellipsis", max_width=32)
    drawn.add_column("", justify="right")
    for name, n in counts[:MOST]:
        drawn.add_row(Text(printable(name), style=COLOURS.get(name, "")), Text(str(n)))
    if len(counts) > MOST:
        drawn.add_row(f"and {len(counts) - MOST} more", str(sum(n for _, n in counts[MOST:])))
    return drawn


@contextmanager
def keys() -> Iterator[Any]:
    """Gives a function that waits so many seconds for a key, and gives it, or an empty text."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def pressed(seconds: float) -> str:
        return sys.stdin.read(1) if select.select([handle], [], [], seconds)[0] else ""

    try:
        tty.setcbreak(handle)
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
