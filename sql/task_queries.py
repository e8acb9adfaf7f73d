"""Tasks as users look at them: listings, counts, causes of failure; none costs more than the task's own rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..core.errors import NotFound
from ..core.job_errors import most_telling, says_payload_failed
from ..core.plain_words import without_numbers
from .selection import Selection, newest
from .tables import ERROR_SOURCES, commands, datasets, files, task_events, task_params, tasks
from .views import all_jobs

#: Different sets of errors that one task's summary looks at, the most frequent first.
MAX_ERROR_SETS = 5000


@dataclass(frozen=True)
class FileCounts:
    """The main inputs of a task, by what became of them."""

    n_files: int = 0
    n_files_used: int = 0
    n_files_finished: int = 0
    n_files_failed: int = 0
    n_files_on_hold: int = 0
    n_files_missing: int = 0


@dataclass(frozen=True)
class ErrorGroup:
    """One cause of failure in a task, of jobs of one kind: run, build or merge.

    `exit_code` is that of the payload, where the cause is no more than that.
    """

    kind: str
    source: str
    code: int
    diag: str
    exit_code: int | None
    count: int
    example_job: int


def list_tasks(tx: sa.Connection, wanted: Selection, *, limit: int) -> list[sa.Row[Any]]:
    """Tasks that fit, the newest first."""
    return newest(tx, tasks, "jeditaskid", wanted, limit=limit)


def file_counts(tx: sa.Connection, jeditaskids: Sequence[int]) -> dict[int, FileCounts]:
    """The main inputs of tasks: {jeditaskid: counts}."""
    names = FileCounts.__dataclass_fields__
    statement = (
        sa.select(datasets.c.jeditaskid, *(sa.func.sum(datasets.c[name]).label(name) for name in names))
        .where(datasets.c.jeditaskid.in_(list(jeditaskids)), datasets.c.is_master)
        .group_by(datasets.c.jeditaskid)
    )
    return {row.jeditaskid: FileCounts(*(int(row._mapping[name]) for name in names)) for row in tx.execute(statement)}


def command_lines(tx: sa.Connection, jeditaskids: Sequence[int]) -> dict[int, str]:
    """The command lines that made tasks, of those that say it: {jeditaskid: text}."""
    words = task_params.c.parameters["cliParams"].as_string()
    statement = sa.select(task_params.c.jeditaskid, words).where(task_params.c.jeditaskid.in_(list(jeditaskids)))
    return {jeditaskid: text for jeditaskid, text in tx.execute(statement) if text}


def files_of_datasets(tx: sa.Connection, datasetids: Sequence[int], *, limit: int) -> dict[int, list[sa.Row[Any]]]:
    """The files of input datasets in the order in which they were entered: {datasetid: rows}."""
    found: dict[int, list[sa.Row[Any]]] = {datasetid: [] for datasetid in datasetids}
    statement = sa.select(files).where(files.c.datasetid.in_(list(datasetids))).order_by(files.c.fileid).limit(limit)
    for row in tx.execute(statement):
        found[row.datasetid].append(row)
    return found


def job_counts(tx: sa.Connection, jeditaskid: int) -> dict[str, int]:
    """How many jobs of a task are in each state, with those of the archive."""
    statement = sa.select(all_jobs.c.status, sa.func.count().label("n")).where(all_jobs.c.jeditaskid == jeditaskid)
    return {row.status: row.n for row in tx.execute(statement.group_by(all_jobs.c.status))}


def error_groups(tx: sa.Connection, jeditaskid: int) -> list[ErrorGroup]:
    """The causes of failure of a task's jobs, the most frequent first, each with its newest job.

    Of a job that carries several errors the most telling one is its cause. Texts that differ only by numbers, as names
    of files do, are one cause, with the text of the newest job.
    """
    counts: Counter[tuple[str, str, int, str, int | None]] = Counter()
    examples: dict[tuple[str, str, int, str, int | None], tuple[int, str]] = {}
    for row in tx.execute(_error_sets(jeditaskid)):
        errors = [(source, *_error_of(row, source)) for source in (*ERROR_SOURCES, "trans")]
        told = most_telling([error for error in errors if error[1]])
        if told is not None:
            exit_code = row.trans_exit_code if says_payload_failed(told[0], told[1]) else None
            source, code, diag = told
            cause = (row.kind, source, code, without_numbers(diag), exit_code)
            counts[cause] += row.n
            examples[cause] = max((row.newest, diag), examples.get(cause, (0, "")))
    groups = []
    for cause, n in counts.most_common():
        (kind, source, code, _, exit_code), (newest, diag) = cause, examples[cause]
        groups.append(ErrorGroup(kind, source, code, diag, exit_code, count=n, example_job=newest))
    return groups


def _error_sets(jeditaskid: int) -> sa.Select[Any]:
    columns = [all_jobs.c[f"{source}_error_{part}"] for source in ERROR_SOURCES for part in ("code", "diag")]
    columns += [all_jobs.c.trans_exit_code, all_jobs.c.kind]
    return (
        sa.select(*columns, sa.func.count().label("n"), sa.func.max(all_jobs.c.pandaid).label("newest"))
        .where(all_jobs.c.jeditaskid == jeditaskid, all_jobs.c.status.in_(("failed", "closed", "cancelled")))
        .group_by(*columns)
        .order_by(sa.text("n DESC"))
        .limit(MAX_ERROR_SETS)
    )


def _error_of(row: sa.Row[Any], source: str) -> tuple[int, str]:
    if source == "trans":
        return row.trans_exit_code or 0, ""
    code, diag = row._mapping[f"{source}_error_code"], row._mapping[f"{source}_error_diag"]
    return code or 0, diag or ""


def events_after(tx: sa.Connection, places: Mapping[int, int], *, first: int) -> list[sa.Row[Any]]:
    """What happened to tasks after the steps with these ids, {jeditaskid: id}; the last `first` steps where it is 0."""
    return steps_after(tx, task_events, task_events.c.jeditaskid, places, first)


def steps_after(
    tx: sa.Connection, table: sa.Table, subject: sa.Column[int], places: Mapping[int, int], first: int
) -> list[sa.Row[Any]]:
    """Steps of objects in a table of them, each after an id: the last `first` ones where it is 0. By id."""
    known = [sa.and_(subject == key, table.c.id > place) for key, place in places.items() if place]
    found = list(tx.execute(sa.select(table).where(sa.or_(*known)))) if known else []
    for key in (key for key, place in places.items() if not place):
        found += tx.execute(sa.select(table).where(subject == key).order_by(table.c.id.desc()).limit(first))
    return sorted(found, key=lambda row: row.id)


def events_of(tx: sa.Connection, jeditaskid: int, *, limit: int = 20) -> list[sa.Row[Any]]:
    """The last things that happened to a task, the oldest of them first."""
    statement = sa.select(task_events).where(task_events.c.jeditaskid == jeditaskid)
    return list(reversed(tx.execute(statement.order_by(task_events.c.id.desc()).limit(limit)).all()))


def counts_by_status(tx: sa.Connection) -> dict[str, int]:
    """How many tasks are in each state."""
    statement = sa.select(tasks.c.status, sa.func.count().label("n")).group_by(tasks.c.status)
    return {row.status: row.n for row in tx.execute(statement)}


def ids_of(tx: sa.Connection, words: Sequence[str]) -> list[int]:
    """The tasks that are meant by ids or names, a name with or without its slash; raises `NotFound` for all others."""
    found: set[int] = set()
    unknown = []
    for word in words:
        name = word.rstrip("/")
        meant = tasks.c.jeditaskid == int(word) if word.isdecimal() else tasks.c.task_name.in_([name, f"{name}/"])
        ids = list(tx.scalars(sa.select(tasks.c.jeditaskid).where(meant)))
        found.update(ids)
        if not ids:
            unknown.append(word)
    if unknown:
        raise NotFound(f"there is no task {', '.join(unknown)}", hint="`bamboo task list` shows yours")
    return sorted(found)


def is_queued(tx: sa.Connection, jeditaskid: int, command: str, parameters: Mapping[str, Any]) -> bool:
    """Whether the same command waits to be carried out already."""
    statement = sa.select(commands.c.parameters).where(
        commands.c.jeditaskid == jeditaskid, commands.c.command == command, commands.c.status == "queued"
    )
    return dict(parameters) in list(tx.scalars(statement))


def queued_commands(tx: sa.Connection, jeditaskids: Sequence[int]) -> dict[int, list[str]]:
    """The commands that wait to be carried out, in their order: {jeditaskid: commands}, of the tasks that have any."""
    found: dict[int, list[str]] = {}
    statement = sa.select(commands.c.jeditaskid, commands.c.command).order_by(commands.c.commandid)
    waiting = statement.where(commands.c.jeditaskid.in_(list(jeditaskids)), commands.c.status == "queued")
    for jeditaskid, command in tx.execute(waiting):
        found.setdefault(jeditaskid, []).append(command)
    return found


def hold_name(tx: sa.Connection, *words: str) -> None:
    """Let nobody else enter a task of that name before this transaction ends.

    SQLite has one writer at a time anyway; on MySQL and Oracle two submissions of one name at one moment may both pass.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("\n".join(words), 0))))
