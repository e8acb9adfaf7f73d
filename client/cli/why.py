"""`bamboo why`: who decides about a task, a job or a queue, what each of them says now, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..text import printable
from .options import connected, formatted
from .output import Column, Output, heading, say, table

if TYPE_CHECKING:
    from ..api import Client
    from ..model import WhyInfo

NOUNS = ("task", "job", "queue")
GATES = (
    Column("GATE", lambda gate: gate.gate),
    Column("IN", lambda gate: gate.n_in, right=True),
    Column("OUT", lambda gate: gate.n_out, right=True),
    Column("SUCH AS", lambda gate: gate.example),
    Column("TO PASS", lambda gate: gate.change),
)


@click.command()
@click.argument("subject", metavar="TASK|JOB|QUEUE")
@click.option("--if", "changes", multiple=True, metavar="[QUEUE:]KEY=VALUE", help="Ask as if this were so.")
@formatted
@connected
def why(client: Client, out: Output, subject: str, changes: tuple[str, ...]) -> None:
    """Say why a task, a job or a queue is where it is: who decides, what each says now, and what would help.

    A number is a task if there is one, else a job; `job:12`, `task:12` and `queue:12` leave no doubt. With --if the
    brokers are asked on a changed copy: `--if memory=2000`, `--if maxrss=4000`, `--if QUEUE:status=online`.
    """
    found = ask(client, subject, changes)
    if out.quiet:
        say(found.stopped_by)
    elif out.as_json:
        out.json(found.row)
    else:
        print_why(found)


def ask(client: Client, subject: str, changes: tuple[str, ...]) -> WhyInfo:
    """Ask about what the user named."""
    from ..errors import Refused

    noun, is_named, name = subject.partition(":")
    if is_named and noun in NOUNS:
        if noun != "queue" and not name.isdecimal():
            raise click.BadParameter(f"'{name}' is not an id", param_hint="TASK|JOB|QUEUE")
        return client.why(noun, name, changes=changes)
    if not subject.isdecimal():
        return client.why("queue", subject, changes=changes)
    try:
        return client.why("task", subject, changes=changes)
    except Refused as error:
        if error.status != 404:
            raise
    return client.why("job", subject, changes=changes)


def print_why(found: WhyInfo) -> None:
    """The chain on the screen: each who decides, and the gates that stopped somebody."""
    tried = found.row.get("tried") or ()
    click.secho(printable(found.subject + (f"  if {', '.join(map(str, tried))}" if tried else "")), bold=True)
    stopped = next((step for step in found.steps if not step.passes), None)
    say(f"{stopped.who} stops it: {stopped.says}" if stopped else "nothing stops it")
    for step in found.steps:
        verdict = "" if step.when else ": passes" if step.passes else ": STOPS IT"
        heading(printable(step.who) + verdict)
        say(f"{step.when:%Y-%m-%d %H:%M:%S} UTC: {step.says}" if step.when else step.says)
        if step.gates:
            table(GATES, step.gates)
