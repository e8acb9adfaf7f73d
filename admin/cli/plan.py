"""`bamboo plan`: what an edit of queues or shares would do to the work that is there. It changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...client.cli.output import Column, heading, note, say, table
from ...core.counting import count_text
from ...core.errors import Fault, Invalid
from .options import config_option, database_url, db_option, read_settings, usual_files
from .queue_import import by_kind, source_options

if TYPE_CHECKING:
    from ...jedi.planning import Effect
    from ...plugins.contracts import QueueView
    from ..grid_edits import Edit, Trial
    from ..share_trial import ShareTrial

QUEUE = Column("QUEUE", lambda effect: effect.queue)
TASK = Column("TASK", lambda effect: effect.jeditaskid, right=True)
WHY = Column("WHY", lambda effect: effect.why)
LEFT = Column("INPUTS LEFT", lambda effect: effect.n_files_left, right=True)
JOBS = Column("JOBS", lambda effect: effect.n_jobs, right=True)
EXAMPLE = Column("SUCH AS", lambda effect: effect.example, right=True)


def _step(before: float | None, after: float | None) -> str:
    """`60 → 50`, or one number where nothing changes."""
    was, will = ("none" if one is None else f"{one:.1f}".removesuffix(".0") for one in (before, after))
    return was if was == will else f"{was} → {will}"


SHARES = (
    Column("SHARE", lambda effect: effect.share),
    Column("OF ALL %", lambda effect: _step(effect.percent_before, effect.percent_after)),
    Column("TARGET cores", lambda effect: _step(effect.target_before, effect.target_after)),
    Column("RUNNING cores", lambda effect: f"{effect.running:.0f}", right=True),
    Column("QUEUED cores", lambda effect: f"{effect.queued:.0f}", right=True),
    Column("TURN", lambda effect: _step(effect.turn_before, effect.turn_after)),
)


@click.group()
def plan() -> None:
    """Show what an edit of queues or shares would do to the work that is there; change nothing."""


@plan.command("queue")
@config_option
@db_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("name", metavar="QUEUE")
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
def plan_queue(
    config_files: tuple[Path, ...], db_url: str | None, as_json: bool, name: str, settings: tuple[str, ...]
) -> None:
    """Try `bamboo queue set QUEUE KEY=VALUE...`."""
    from ...client.cli.task_act import read_settings as read_pairs
    from ...core.clock import utc_now
    from ...sql import queues

    attributes = read_pairs(settings)
    show(
        _try(config_files, db_url, lambda tx: queues.set_queue(tx, name, attributes, now=utc_now())),
        config_files or usual_files(),
        as_json=as_json,
    )


@plan.command("import")
@config_option
@db_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@source_options
def plan_import(
    config_files: tuple[Path, ...], db_url: str | None, as_json: bool, source: str | None, force: bool, **others: Any
) -> None:
    """Try `bamboo queue import` with the same arguments."""
    from ...core.clock import utc_now
    from ...daemon.grid_sources import limits_of, read_all
    from ...sql import grid_imports
    from ...sql import settings as stored
    from ...sql.imports import Import
    from ..grid_edits import sources_of

    section = read_settings(config_files).settings.configurator
    sources = sources_of(section, by_kind(source, others))
    if not sources:
        fault = Fault("[configurator]", "it names no source", "give FILE or URL, or set CRIC_URL_SCHEDCONFIG")
        raise Invalid("nothing to plan", [fault])
    grid = read_all(sources, limits_of(section))
    for warning in grid.warnings:
        note(f"warning: {warning}")

    def _edit(tx: Any) -> None:
        numbers = stored.numbers(tx)
        how = Import(actor="plan", now=utc_now(), sources=sources, force=force, numbers=numbers)
        grid_imports.swap(tx, grid, how)

    show(_try(config_files, db_url, _edit), config_files or usual_files(), as_json=as_json)


@plan.command("share")
@config_option
@db_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--retag", is_flag=True, help="As if the tasks and jobs that are not over were tagged anew, too.")
@click.argument("edits", metavar="SHARE[.KEY]=VALUE...", nargs=-1, required=True)
def plan_share(
    config_files: tuple[Path, ...], db_url: str | None, as_json: bool, retag: bool, edits: tuple[str, ...]
) -> None:
    """Try new values of shares: whose turn it would be, and with which targets.

    SHARE=VALUE is percent of the parent, SHARE.KEY=VALUE takes the keys of `bamboo share set`, SHARE=remove removes.
    """
    from ...sql.clock import DatabaseClock
    from ..database import opened, require_schema
    from ..share_trial import read_edits, try_shares

    url = database_url(read_settings(config_files).settings, db_url)
    require_schema(url)
    with opened(url) as engine:
        trial = try_shares(engine, DatabaseClock(engine), read_edits(edits), retag=retag)
    show_shares(trial, as_json=as_json)


def show_shares(trial: ShareTrial, *, as_json: bool) -> None:
    """Print what a trial of shares found."""
    if as_json:
        click.echo(json.dumps(asdict(trial)))
        return
    table(SHARES, trial.effects)
    for line in trial.notes:
        note(line)
    click.echo()
    n_turns = sum(one.turn_before != one.turn_after for one in trial.effects)
    retagged = f" {trial.n_tasks} tasks and {trial.n_jobs} jobs would have other tags." if trial.n_tasks else ""
    say(f"{n_turns} shares would have another turn.{retagged} Nothing was changed.")


def _try(config_files: tuple[Path, ...], db_url: str | None, edit: Edit) -> Trial:
    from ...sql.clock import DatabaseClock
    from ..database import opened, require_schema
    from ..grid_edits import try_edit

    settings = read_settings(config_files).settings
    url = database_url(settings, db_url)
    require_schema(url)
    with opened(url) as engine:
        return try_edit(engine, DatabaseClock(engine), settings, edit)


def show(trial: Trial, files: Sequence[Path], *, as_json: bool) -> None:
    """Print what a trial found with these cfg files, which have to be JEDI's."""
    found = trial.effects
    if as_json:
        changes = [{"queue": name, "before": was, "after": will} for name, was, will in _changes(trial)]
        click.echo(json.dumps({"changes": changes, **asdict(found), "brokers": dict(trial.brokers)}))
        return
    changes_told = [f"{name}: {_change_text(was, will)}" for name, was, will in _changes(trial)]
    for line in changes_told or ["no queue would change for brokers"]:
        say(line)
    _section("waiting jobs that would not fit any more", (QUEUE, TASK, JOBS, EXAMPLE, WHY), found.jobs_out)
    _section("tasks that would go there no more", (QUEUE, TASK, LEFT, WHY), found.tasks_out)
    _section("tasks that would fit then", (QUEUE, TASK, LEFT), found.tasks_in)
    _section("tasks for which no queue would be left", (TASK, LEFT), found.stranded)
    n_jobs = sum(one.n_jobs for one in found.jobs_out)
    n_out, n_in = (len({one.jeditaskid for one in tasks}) for tasks in (found.tasks_out, found.tasks_in))
    click.echo()
    say(f"asked: {_told(trial.brokers)} (by {', '.join(map(str, files)) or 'no cfg file'})")
    say(
        f"{n_jobs} waiting jobs and {n_out} tasks would not fit any more, {n_in} tasks would; "
        f"{len(found.stranded)} tasks would have no queue. Nothing was changed."
    )


def _told(brokers: Mapping[str, int]) -> str:
    who = (f"{name} about {count_text(n, 'task')}" for name, n in sorted(brokers.items()))
    return ", ".join(who) or "nobody, for no task is open"


def _section(title: str, columns: Sequence[Column], effects: Sequence[Effect]) -> None:
    if effects:
        heading(title)
        table(columns, effects)


def _changes(trial: Trial) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """For each queue that would change, the values that differ; None for a queue that is not there."""
    from ...sql.queue_values import differences

    told: list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]] = []
    for name in sorted({*trial.before, *trial.after}):
        was, will = trial.before.get(name), trial.after.get(name)
        if was == will:
            continue
        changed = differences(_flat(was), _flat(will))
        told.append((name, changed[0] if was else None, changed[1] if will else None))
    return told


def _flat(queue: QueueView | None) -> dict[str, Any]:
    """All values of a queue by name."""
    values = asdict(queue) if queue else {"attributes": {}}
    return {**values.pop("attributes"), **values}


def _change_text(was: dict[str, Any] | None, will: dict[str, Any] | None) -> str:
    if was is None:
        return "new"
    after = will or {}
    return ", ".join(f"{key} {was.get(key)} → {after.get(key)}" for key in sorted({*was, *after}))
