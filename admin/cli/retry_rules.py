"""`bamboo retry-rules`: what is done about failures, by error (manual ch. 20)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...core.errors import Duplicate, Fault, Invalid, NotFound
from .options import by_option, config_option, database_url, db_option, json_option, read_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ...core.retry_rules import Rule
    from ..rule_trial import Trial

F = TypeVar("F", bound=Callable[..., Any])

#: The keys of a rule that are options of `add` and `test`, in their order.
_OPTIONS = (
    click.option(
        "--action", help="no_retry, limit_retry, free_attempt, increase_memory, increase_cputime or reduce_input."
    ),
    click.option("--source", help="pilot, payload, trans, ddm, sup, brokerage, job_dispatcher or task_buffer."),
    click.option("--code", type=int, help="The error code. Default: any."),
    click.option("--message", metavar="REGEX", help="Occurs in the error's text (Python's syntax). Default: any."),
    click.option("--parameter", "pairs", multiple=True, metavar="KEY=N", help="A number of the action; repeatable."),
    click.option("--architecture", metavar="PATTERN", help="Only for tasks with this architecture; wildcards."),
    click.option("--release", metavar="PATTERN", help="Only for tasks with this release; wildcards."),
    click.option("--work-queue", metavar="PATTERN", help="Only for tasks of this work queue (number or name)."),
    click.option("--description", help="Why there is this rule."),
)


def rule_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group("retry-rules")
def retry_rules() -> None:
    """Say what is done about failures: not to try again, fewer attempts, more memory or time, fewer inputs."""


@retry_rules.command("list")
@config_option
@db_option
@json_option
def list_rules(config_files: tuple[Path, ...], db_url: str | None, as_json: bool) -> None:
    """List the rules in force, of the file and of the database; one of the database replaces its namesake."""
    from ...client.cli.output import Column, Output, table

    with _database(config_files, db_url) as tx:
        rules = _in_force(tx, config_files)
    if as_json:
        Output.json([rule.as_row() for rule in rules])
        return
    columns = (
        Column("NAME", lambda rule: rule.name),
        Column("ACTIVE", lambda rule: "yes" if rule.active else "no"),
        Column("ACTION", lambda rule: " ".join([rule.action, *(f"{k}={v}" for k, v in rule.parameters.items())])),
        Column("ERROR", lambda rule: f"{rule.source} {'any' if rule.code is None else rule.code}"),
        Column("MESSAGE", lambda rule: rule.message.pattern if rule.message else ""),
        Column("SCOPE", _scope_text),
        Column("FROM", lambda rule: rule.origin),
        Column("WHY", lambda rule: rule.description),
    )
    table(columns, rules)


@retry_rules.command()
@config_option
@db_option
@by_option
@rule_options
@click.option("--passive", is_flag=True, help="Only write down that it would have fired.")
@click.option("--replace", "replacing", is_flag=True, help="Replace the rule of this name in the database.")
@click.argument("name")
def add(
    config_files: tuple[Path, ...],
    db_url: str | None,
    by: str,
    passive: bool,
    replacing: bool,
    name: str,
    **keys: Any,
) -> None:
    """Enter rule NAME into the database. It takes effect within seconds."""
    from ...core.clock import utc_now
    from ...sql import retry_rules as sql

    rule = _new_rule(name, keys, active=not passive)
    with _recorded(config_files, db_url, by) as tx:
        if not replacing and name in {known.name for known in sql.list_rules(tx)}:
            raise Duplicate(f"there is a rule {name} in the database", hint="--replace, or another name")
        sql.put_rule(tx, rule, by=by, now=utc_now())
    click.echo(f"rule {name} is {'active' if rule.active else 'passive'}")


@retry_rules.command()
@config_option
@db_option
@by_option
@click.argument("name")
def remove(config_files: tuple[Path, ...], db_url: str | None, by: str, name: str) -> None:
    """Take rule NAME out of the database. A rule of the file with this name holds again."""
    from ...sql import retry_rules as sql

    with _recorded(config_files, db_url, by) as tx:
        there_was = sql.remove_rule(tx, name)
    if not there_was:
        raise NotFound(
            f"there is no rule {name} in the database", hint="rules of the file are switched off by `disable`"
        )
    click.echo(f"rule {name} is removed from the database")


@retry_rules.command()
@config_option
@db_option
@by_option
@click.argument("name")
def enable(config_files: tuple[Path, ...], db_url: str | None, by: str, name: str) -> None:
    """Make rule NAME active."""
    _switch(config_files, db_url, name, by, active=True)


@retry_rules.command()
@config_option
@db_option
@by_option
@click.argument("name")
def disable(config_files: tuple[Path, ...], db_url: str | None, by: str, name: str) -> None:
    """Make rule NAME passive: it only writes down that it would have fired."""
    _switch(config_files, db_url, name, by, active=False)


@retry_rules.command("test")
@config_option
@db_option
@json_option
@rule_options
@click.option("--days", type=click.FloatRange(min=0), default=7, show_default=True, help="How far to look back.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="At most so many failures."
)
@click.argument("name")
def test_rule(
    config_files: tuple[Path, ...], db_url: str | None, as_json: bool, days: float, limit: int, name: str, **keys: Any
) -> None:
    """Say which failures of the past rule NAME would have matched, and how their inputs ended.

    Without --action and --source NAME is a rule in force; with them it is one that is not entered yet. Changes nothing.
    """
    from datetime import timedelta

    from ...core.clock import utc_now
    from ..rule_trial import try_rule

    with _database(config_files, db_url) as tx:
        is_new = any(value not in (None, ()) for value in keys.values())
        rule = _new_rule(name, keys, active=True) if is_new else _named(_in_force(tx, config_files), name)
        trial = try_rule(tx, rule, since=utc_now() - timedelta(days=days), limit=limit)
    _show_trial(rule, trial, as_json)


@retry_rules.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Say everything that is wrong with a file of rules; exit status 8 if anything is."""
    from ...core.retry_rules import read_rules

    click.echo(f"{path} can be used: {len(read_rules(path, probe=True))} rules")


@contextmanager
def _database(config_files: tuple[Path, ...], db_url: str | None) -> Iterator[sa.Connection]:
    from ...sql.engine import reading
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, reading(engine) as tx:
        yield tx


@contextmanager
def _recorded(config_files: tuple[Path, ...], db_url: str | None, by: str) -> Iterator[sa.Connection]:
    """A transaction, after which it is known who changed what of the rules in the database."""
    from ...core.clock import utc_now
    from ...sql import audit
    from ...sql import retry_rules as sql
    from ..database import opened, require_schema

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine, engine.begin() as tx, audit.recording(tx, sql.things, actor=by, now=utc_now()):
        yield tx


def _in_force(tx: sa.Connection, config_files: tuple[Path, ...]) -> list[Rule]:
    from ...core.retry_rules import overlaid
    from ...sql import retry_rules as sql

    return overlaid(sql.of_file(read_settings(config_files).settings.retry.rules_file), sql.list_rules(tx))


def _named(rules: Sequence[Rule], name: str) -> Rule:
    from ...core.nearby import guess

    for rule in rules:
        if rule.name == name:
            return rule
    raise NotFound(f"there is no rule {name}", hint=guess(name, [rule.name for rule in rules]))


def _switch(config_files: tuple[Path, ...], db_url: str | None, name: str, by: str, *, active: bool) -> None:
    """Enter the rule into the database as it is, but active or passive: there it replaces that of the file."""
    from ...core.clock import utc_now
    from ...sql import retry_rules as sql

    with _recorded(config_files, db_url, by) as tx:
        rule = replace(_named(_in_force(tx, config_files), name), active=active)
        sql.put_rule(tx, rule, by=by, now=utc_now())
    click.echo(f"rule {name} is {'active' if active else 'passive'}")


def _new_rule(name: str, keys: dict[str, Any], *, active: bool) -> Rule:
    from ...core.retry_rules import parse_rule

    given = {key: value for key, value in keys.items() if key != "pairs" and value is not None}
    parameters, faults = {}, []
    for pair in keys["pairs"]:
        key, _, text = pair.partition("=")
        try:
            parameters[key] = int(text) if text.lstrip("-").isdecimal() else float(text)
        except ValueError:
            faults.append(Fault("--parameter", f"{pair!r} is no KEY=NUMBER", "such as maxAttempt=2"))
    if faults:
        raise Invalid("a retry rule cannot be used", faults)
    rule = {"name": name, **given, "parameters": parameters, "active": active}
    return parse_rule(rule, f"rule {name}", origin="command line", probe=True)


def _scope_text(rule: Rule) -> str:
    words = {"architecture": rule.architecture, "release": rule.release, "work queue": rule.work_queue}
    return ", ".join(f"{name} {value}" for name, value in words.items() if value)


def _show_trial(rule: Rule, trial: Trial, as_json: bool) -> None:
    from ...client.cli.output import Output, say
    from ..rule_trial import EXAMPLES, verdict

    if as_json:
        Output.json(
            {
                "rule": rule.as_row(),
                "failures": trial.looked_at,
                "matched": len(trial.matches),
                "jobs": [match.pandaid for match in trial.matches],
                "inputs": vars(trial.outcome),
                "verdict": verdict(rule, trial),
            }
        )
        return
    ended = trial.outcome
    say(f"{len(trial.matches)} of {trial.looked_at} failures match")
    for match in trial.matches[:EXAMPLES]:
        say(f"    job {match.pandaid} of task {match.jeditaskid}: {match.source} {match.code}: {match.diag}")
        say(f"        {match.decision.why}")
    say(f"their {ended.inputs} inputs: {ended.finished} finished since, {ended.failed} failed, {ended.open} still open")
    say(verdict(rule, trial))
