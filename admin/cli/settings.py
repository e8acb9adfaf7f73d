"""`bamboo settings`: the numbers that all processes share, changed while they run (manual ch. 10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import Fault, Invalid, NotFound
from .options import by_option, config_option, database_url, db_option, json_option, read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ..declared import AnyTunable

NAME = "NAME"
#: A value that looks like an option.
_NEGATIVE = re.compile(r"-\.?\d[\d.eE+-]*")
vo_option = click.option("--vo", default="", metavar="VO", help="The organisation it is for. Default: everybody.")


@click.group()
def settings() -> None:
    """See and change the numbers of algorithms. NAME is app.component.KEY, such as jedi.jobthrottle.LIMIT.

    What is changed takes effect within seconds, in all processes, without a restart.
    """


@settings.command("list")
@config_option
@db_option
@json_option
@click.option("--changed", is_flag=True, help="Only those that are set in the database.")
@click.argument("part", default="", required=False)
def list_settings(config_files: tuple[Path, ...], db_url: str | None, as_json: bool, changed: bool, part: str) -> None:
    """List what can be set, its values and where they come from; with PART, only names that have it."""
    from ...sql import settings as sql

    with _database(config_files, db_url) as tx:
        rows = sql.list_values(tx)
    found = [row for row in _table(rows, only_changed=changed) if part.lower() in row["name"].lower()]
    _show(found, ("name", "vo", "value", "unit", "default", "type", "source", "help"), as_json)


@settings.command()
@config_option
@db_option
@vo_option
@click.argument("name", metavar=NAME)
def get(config_files: tuple[Path, ...], db_url: str | None, vo: str, name: str) -> None:
    """Print the value in force for an organisation: its own, everybody's, or the default."""
    from ...sql import settings as sql
    from .. import declared

    app, component, key = _parts(name)
    with _database(config_files, db_url) as tx:
        value = sql.get_value(tx, component, key, app, vo)
        tunable = declared.of_name(name)
        if tunable is not None and value is None:
            value = sql.numbers(tx, vo)(tunable, key.removeprefix(tunable.key))
    if value is None:
        raise NotFound(f"{name} is not set, and no module declares it", hint=_near(name))
    click.echo(_text(value))


class _TakesNegativeNumbers(click.Command):
    """A command one of whose arguments may be `-1`, which looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        numbers = [word for word in args if _NEGATIVE.fullmatch(word)]
        if numbers and "--" not in args:
            args = [*(word for word in args if word not in numbers), "--", *numbers]
        return super().parse_args(ctx, args)


@settings.command("set", cls=_TakesNegativeNumbers)
@config_option
@db_option
@vo_option
@by_option
@click.option("--type", "kind", type=click.Choice(["int", "float", "str", "bool"]), help="Needed with --force only.")
@click.option("--descr", help="Why, for those who come after you.")
@click.option("--force", is_flag=True, help="Set a name that no module declares, for programs of your own.")
@click.argument("name", metavar=NAME)
@click.argument("value")
def set_setting(
    config_files: tuple[Path, ...],
    db_url: str | None,
    vo: str,
    by: str,
    kind: str | None,
    descr: str | None,
    force: bool,
    name: str,
    value: str,
) -> None:
    """Set NAME to VALUE, for one organisation or for everybody."""
    from ...core.clock import utc_now
    from ...sql import settings as sql
    from .. import declared

    app, component, key = _parts(name)
    tunable = declared.of_name(name)
    kind = _kind_of(tunable, name, kind, force)
    _check_lengths(value, vo, descr)
    _check_bounds(tunable, name, value)
    with _database(config_files, db_url, writes=True) as tx:
        sql.set_value(tx, component, key, app, value, kind=kind, now=utc_now(), vo=vo, descr=descr, by=by)
    click.echo(f"{name} is {value}" + (f" for {vo}" if vo else ""))


@settings.command()
@config_option
@db_option
@vo_option
@by_option
@click.argument("name", metavar=NAME)
def unset(config_files: tuple[Path, ...], db_url: str | None, vo: str, by: str, name: str) -> None:
    """Take a value away, so that the default holds again."""
    from ...core.clock import utc_now
    from ...sql import settings as sql

    app, component, key = _parts(name)
    with _database(config_files, db_url, writes=True) as tx:
        there_was = sql.unset_value(tx, component, key, app, now=utc_now(), vo=vo, by=by)
    if not there_was:
        raise NotFound(f"{name} is not set" + (f" for {vo}" if vo else ""), hint="`bamboo settings list --changed`")
    click.echo(f"{name} is as by default again" + (f" for {vo}" if vo else ""))


@settings.command()
@config_option
@db_option
@json_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many lines.")
@click.argument("name", metavar=NAME, required=False)
def history(config_files: tuple[Path, ...], db_url: str | None, as_json: bool, limit: int, name: str | None) -> None:
    """Say who changed what when, the newest first; with NAME, of one setting."""
    from ...sql import settings as sql

    wanted: dict[str, Any] = dict(zip(("app", "component", "key"), _parts(name), strict=True)) if name else {}
    with _database(config_files, db_url) as tx:
        rows = sql.history(tx, limit=limit, **wanted)
    lines = [
        {
            "at": row.at,
            "by": row.user_name,
            "name": f"{row.app}.{row.component}.{row.key}",
            "vo": row.vo,
            "was": row.old_value,
            "is": row.new_value,
            "why": row.descr or "",
        }
        for row in rows
    ]
    _show(lines, ("at", "by", "name", "vo", "was", "is", "why"), as_json)


@contextmanager
def _database(config_files: tuple[Path, ...], db_url: str | None, *, writes: bool = False) -> Iterator[sa.Connection]:
    """A transaction on the database that the files or the option name, which must have this version's schema."""
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, engine.begin() if writes else reading(engine) as tx:
        yield tx


def _table(rows: list[Any], *, only_changed: bool) -> list[dict[str, Any]]:
    """What there is to list: every value that is set, and every tunable that nobody has set."""
    from .. import declared

    known = declared.known()
    lines, seen = [], set()
    for row in rows:
        name = f"{row.app}.{row.component}.{row.key}"
        seen.add(name)
        lines.append(_line(name, row.vo, row.value, declared.of_name(name), row.type, row.descr))
    if not only_changed:
        lines += [
            _line(name, "", _text(tunable.default), tunable, tunable.kind, "")
            for name, tunable in known.items()
            if name not in seen
        ]
    return sorted(lines, key=lambda line: (line["name"], line["vo"]))


def _line(name: str, vo: str, value: str, tunable: AnyTunable | None, kind: str, descr: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "vo": vo,
        "value": value,
        "unit": tunable.unit if tunable else "",
        "default": _text(tunable.default) if tunable else "",
        "type": kind,
        "source": tunable.source if tunable else "no module declares it",
        "help": descr or (tunable.help if tunable else ""),
    }


def _show(lines: list[dict[str, Any]], keys: tuple[str, ...], as_json: bool) -> None:
    from ...client.cli.output import Column, Output, table

    if as_json:
        Output.json(lines)
    else:
        table([Column(key.upper(), lambda line, key=key: line[key]) for key in keys], lines)  # type: ignore[misc]


def _parts(name: str) -> tuple[str, str, str]:
    """Application, component and key of a dotted name; raises `Invalid`."""
    parts = name.split(".", 2)
    if len(parts) != 3 or not all(parts) or any(letter.isspace() for letter in name):
        raise Invalid("the setting", [Fault(name, "is no name", "it is app.component.KEY; see `bamboo settings list`")])
    too_long = [part for part, most in zip(parts, (64, 64, 128), strict=True) if len(part) > most]
    if too_long:
        raise Invalid(
            "the setting", [Fault(part[:20] + "…", "is too long", "64, 64, 128 characters") for part in too_long]
        )
    return parts[0], parts[1], parts[2]


def _kind_of(tunable: AnyTunable | None, name: str, kind: str | None, force: bool) -> str:
    """The type of a setting: the declared one. Raises `Invalid` for another, and for names that nobody declares."""
    if tunable is not None:
        if kind not in (None, tunable.kind):
            raise Invalid("the setting", [Fault("--type", f"{name} is {tunable.kind}, not {kind}", "leave it out")])
        return tunable.kind
    if not force:
        do = f"{_near(name)}; with --force it is set all the same"
        raise Invalid("the setting", [Fault(name, "no module declares it", do)])
    return kind or "str"


def _check_lengths(value: str, vo: str, descr: str | None) -> None:
    given = (("VALUE", value, 1024), ("--vo", vo, 64), ("--descr", descr or "", 512))
    faults = [
        Fault(where, "is too long", f"at most {most} characters") for where, text, most in given if len(text) > most
    ]
    if faults:
        raise Invalid("the setting", faults)


def _check_bounds(tunable: AnyTunable | None, name: str, value: str) -> None:
    """Refuse numbers that algorithms cannot calculate with; what is no number at all is told with its type."""
    bounds = tunable.bounds if tunable else None
    try:
        number = float(value)
    except ValueError:
        return
    if bounds is not None and (number < bounds[0] or number > bounds[1]):
        least, most = bounds
        raise Invalid("the setting", [Fault(name, f"{value} is out of range", f"give a number from {least} to {most}")])


def _near(name: str) -> str:
    from ...core.nearby import guess
    from .. import declared

    return guess(name, declared.known())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
