"""Options and arguments that several commands share."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar

import click

from .output import Output

F = TypeVar("F", bound=Callable[..., Any])


url_option = click.option(
    "--url", envvar="BAMBOO_URL", metavar="URL", help="The server [env: BAMBOO_URL; default: port 25080 here]."
)


def connected(command: F) -> F:
    """Give the command a `client`, for the server of --url."""

    @url_option
    @wraps(command)
    def with_client(url: str | None, **given: Any) -> Any:
        from ..api import connect

        return command(client=connect(url), **given)

    return with_client  # type: ignore[return-value]


def formatted(command: F) -> F:
    """Give the command an `out`, for --json and --quiet."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, with PanDA's names.")
    @click.option("--quiet", "-q", is_flag=True, help="Print ids or names only, one a line.")
    @wraps(command)
    def with_output(as_json: bool, quiet: bool, **given: Any) -> Any:
        return command(out=Output(as_json, quiet), **given)

    return with_output  # type: ignore[return-value]


def listed(command: F) -> F:
    """Give the command an `out`, for --json, --quiet and --fields, and a `limit`."""

    @click.option("--fields", metavar="KEY,…", default="", help="Columns to print, by their names in --json.")
    @click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Print at most so many.")
    @formatted
    @wraps(command)
    def with_listing(out: Output, fields: str, **given: Any) -> Any:
        return command(out=Output(out.as_json, out.quiet, commas(fields)), **given)

    return with_listing  # type: ignore[return-value]


def commas(text: str | None) -> tuple[str, ...]:
    """The parts of a comma-separated text, without blanks around them and without empty ones."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def read_ids(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[int]:
    """Ids from the command line, or with `-` the numbers on stdin. Each is kept once, in order."""

    def words() -> Iterator[str]:
        for word in given:
            yield from sys.stdin.read().split() if word == "-" else [word]

    found: dict[int, None] = {}
    for word in words():
        if not word.isdecimal():
            raise click.BadParameter(f"'{word}' is not an id", ctx=ctx, param=param)
        found[int(word)] = None
    return list(found)


def ids_argument(noun: str) -> Callable[[F], F]:
    """One or more ids; `-` reads them from stdin."""
    return click.argument("ids", metavar=f"{noun}...", nargs=-1, required=True, callback=read_ids)


def watch_option(command: F) -> F:
    """--watch, with an optional number of seconds."""
    decorate = click.option(
        "--watch",
        "-w",
        "watch_seconds",
        is_flag=False,
        flag_value=2.0,
        type=click.FloatRange(min=0.1),
        metavar="[SECONDS]",
        help="Print again every so many seconds [2]; give it after the ids.",
    )
    return decorate(command)


def status_option(states: type[StrEnum], separator: str) -> Callable[[F], F]:
    """--status, with one state or several; they are sent with the `separator` that the server wants."""

    def check(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
        words = [word.strip() for word in re.split(r"[|,]", given or "") if word.strip()]
        known = [str(state) for state in states]
        for word in words:
            if word not in known:
                near = get_close_matches(word, known, n=1)
                guess = f"did you mean '{near[0]}'?" if near else "there are: " + ", ".join(known)
                raise click.BadParameter(f"there is no state '{word}'; {guess}", ctx=ctx, param=param)
        return separator.join(words) or None

    return click.option("--status", metavar="STATE,…", callback=check, help="Only those in one of these states.")


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def kebab_case(name: str) -> str:
    """`nFilesPerJob` as `n-files-per-job`, `secondaryDSs` as `secondary-dss`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])(?!Ss(?![a-z]))", "-", name).lower()


def prun_option(name: str, field: str | None = None, **settings: Any) -> Callable[[F], F]:
    """An option in prun's spelling that is also accepted in the usual one: --nFilesPerJob, --n-files-per-job."""
    kebab = kebab_case(name)
    return click.option(*dict.fromkeys((f"--{name}", f"--{kebab}")), field or kebab.replace("-", "_"), **settings)
