"""What commands print: data on stdout as a table, plain text, ids or JSON; messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import click

from ...core.errors import Fault, Invalid
from ..text import printable

Row = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """One column of a listing: its title, and how a row's cell is made."""

    title: str
    cell: Callable[[Any], object]
    right: bool = False


@dataclass(frozen=True)
class Output:
    """How the user wants the data of one command."""

    as_json: bool = False
    quiet: bool = False
    fields: tuple[str, ...] = ()

    def rows(self, items: Sequence[Any], columns: Sequence[Column], *, id_key: str) -> None:
        """Print a listing of our dataclasses; `id_key` is the key that --quiet prints."""
        rows: list[Row] = [item.row for item in items]
        if self.quiet:
            self.ids(row.get(id_key, "") for row in rows)
        elif self.as_json:
            self.json([self.chosen(row) for row in rows])
        elif self.fields:
            self.check_fields(rows)
            table([Column(key, lambda row, key=key: row.get(key)) for key in self.fields], rows)  # type: ignore[misc]
        else:
            table(columns, items)

    def ids(self, ids: Any) -> None:
        for each in ids:
            say(each)

    def chosen(self, row: Row) -> Row:
        return {key: row.get(key) for key in self.fields} if self.fields else row

    def check_fields(self, rows: Sequence[Row]) -> None:
        known = {key for row in rows for key in row}
        unknown = [key for key in self.fields if rows and key not in known]
        if unknown:
            do = "choose from " + ", ".join(sorted(known))
            raise Invalid("listing", [Fault("fields", f"there is no '{key}'", do) for key in unknown])

    @staticmethod
    def json(value: object) -> None:
        """JSON on stdout: indented for people, one line otherwise. Escapes keep control codes from the terminal."""
        click.echo(json.dumps(value, default=json_text, indent=2 if sys.stdout.isatty() else None))


def json_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def cell_text(value: object) -> str:
    """A value as people read it: times in UTC to the second, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (dict, list, tuple)):
        return printable(json.dumps(value, default=json_text))
    return printable(value)


def table(columns: Sequence[Column], items: Sequence[Any]) -> None:
    """Print a table: drawn by rich on a terminal, aligned plain text anywhere else."""
    cells = [[cell_text(column.cell(item)) for column in columns] for item in items]
    if sys.stdout.isatty():
        rich_table(columns, cells)
    else:
        plain_table(columns, cells)


def rich_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        drawn.add_column(
            column.title, justify="right" if column.right else "left", overflow="fold", no_wrap=column.right
        )
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def plain_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    rows = [[column.title for column in columns], *cells]
    widths = [max(len(row[number]) for row in rows) for number in range(len(columns))]
    for row in rows:
        placed = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        click.echo("  ".join(placed).rstrip())


def say(line: object) -> None:
    """A line of data, on stdout."""
    click.echo(printable(line))


def note(message: str) -> None:
    """A message for people, on stderr."""
    click.echo(printable(message), err=True)


def heading(title: str) -> None:
    click.echo()
    click.secho(title, bold=sys.stdout.isatty() or None)


def first(items: Iterable[T], limit: int) -> list[T]:
    """The first items of a listing; says so if there are more."""
    found = list(islice(items, limit + 1))
    if len(found) > limit:
        note(f"only the first {limit} are shown; --limit shows more")
    return found[:limit]


def interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Say what will be hit, and ask if somebody is there. Raises `click.Abort` on no."""
    note(question)
    if not yes and interactive() and not click.confirm("Go on?", err=True):
        note("nothing was done")
        raise click.Abort
