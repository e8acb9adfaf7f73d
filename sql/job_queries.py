"""Jobs as users and pilots look at them: listings and details, of live jobs and of the archive."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..core.errors import NotFound
from ..core.states import InputFileState, JobState, OutputFileState
from . import bulk
from .jobs import batches
from .ready import Ready, ReadyAmong
from .tables import (
    INPUT_TYPES,
    catalogue_datasets,
    catalogue_files,
    datasets,
    job_events,
    job_files,
    job_metadata,
    job_params,
    job_reports,
    jobs,
    task_params,
)
from .task_queries import steps_after
from .views import all_jobs

_REPORTED_NAMES = "pandaid jeditaskid attempt_nr status reported_status command_to_pilot pilot_id lease_until queue"
REPORTED_COLUMNS = tuple(_REPORTED_NAMES.split())
#: The busiest statement of the server: it reads no more than a report needs.
_WANTED = sa.select(*(jobs.c[name] for name in REPORTED_COLUMNS)).prefix_with("/* jobs.report */")
_REPORTED = _WANTED.where(jobs.c.pandaid == sa.bindparam("pandaid"))
_LOOKED_AT = Ready(_REPORTED)
_ALL_LOOKED_AT = ReadyAmong(_WANTED, jobs.c.pandaid)
_LOCKED = _REPORTED.with_for_update()
_HEARD_OF = (
    sa.select(jobs.c.pandaid, jobs.c.status, jobs.c.command_to_pilot)
    .where(jobs.c.command_to_pilot.is_not(None) | jobs.c.lease_until.is_(None))
    .prefix_with("/* jobs.orders */")
)
_ALL_HEARD_OF = ReadyAmong(_HEARD_OF, jobs.c.pandaid)


def look_for_report(tx: sa.Connection, pandaid: int) -> Any:
    """What a pilot's report is judged by, without a lock; None when there is no such live job."""
    return _LOOKED_AT.first(tx, {"pandaid": pandaid})


def look_for_reports(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, Any]:
    """`look_for_report` of many jobs at once: {pandaid: row}, of those that there are."""
    return {row.pandaid: row for row in _ALL_LOOKED_AT.all(tx, pandaids)}


def lock_for_report(tx: sa.Connection, pandaid: int) -> sa.Row[Any]:
    """What a pilot's report is judged by, locked for this transaction; raises `NotFound`."""
    row = tx.execute(_LOCKED, {"pandaid": pandaid}).first()
    if row is None:
        raise NotFound(f"there is no job {pandaid}", hint="its task may be over and archived")
    return row


def list_jobs(
    tx: sa.Connection, jeditaskid: int | None, statuses: Collection[str] = (), *, after: int = 0, limit: int = 100
) -> list[sa.Row[Any]]:
    """Jobs of a task (or of all) in the order of their ids, from the one after `after` on."""
    statement = sa.select(all_jobs).where(all_jobs.c.pandaid > after).order_by(all_jobs.c.pandaid).limit(limit)
    if jeditaskid is not None:
        statement = statement.where(all_jobs.c.jeditaskid == jeditaskid)
    if statuses:
        statement = statement.where(all_jobs.c.status.in_(list(statuses)))
    return list(tx.execute(statement))


def find_job(tx: sa.Connection, pandaid: int) -> sa.Row[Any]:
    """A job, live or archived; raises `NotFound`."""
    row = tx.execute(sa.select(all_jobs).where(all_jobs.c.pandaid == pandaid)).first()
    if row is None:
        raise NotFound(f"there is no job {pandaid}", hint="`bamboo job list N` shows those of task N")
    return row


def orders_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, str]:
    """The commands that wait for the pilots of live jobs: {pandaid: command}."""
    statement = sa.select(jobs.c.pandaid, jobs.c.command_to_pilot).where(jobs.c.command_to_pilot.is_not(None))
    found: dict[int, str] = {}
    for some in batches(pandaids):
        found.update({row[0]: row[1] for row in tx.execute(statement.where(jobs.c.pandaid.in_(list(some))))})
    return found


def heard_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, Any]:
    """What pilots that hold these jobs are to hear of: {pandaid: row with `status` and `command_to_pilot`}.

    Only jobs that have an order, or that no pilot holds any more.
    """
    return {row.pandaid: row for row in _ALL_HEARD_OF.all(tx, pandaids)}


def states_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The state and attempt of those jobs that there are: {pandaid: (status, attempt_nr)}."""
    found: dict[int, tuple[str, int]] = {}
    statement = sa.select(all_jobs.c.pandaid, all_jobs.c.status, all_jobs.c.attempt_nr)
    for some in batches(pandaids):
        for row in tx.execute(statement.where(bulk.among(tx, all_jobs.c.pandaid, list(some)))):
            found[row.pandaid] = (row.status, row.attempt_nr)
    return found


def ids_of_task(tx: sa.Connection, jeditaskid: int) -> list[int]:
    """The ids of all jobs of a task."""
    statement = sa.select(all_jobs.c.pandaid).where(all_jobs.c.jeditaskid == jeditaskid)
    return list(tx.scalars(statement.order_by(all_jobs.c.pandaid)))


def finished_with_same_input(tx: sa.Connection, job: Any) -> int | None:
    """Another job, of the same task and kind, that finished with an input of this one; the newest there is."""
    own = sa.select(job_files.c.fileid).where(job_files.c.pandaid == job.pandaid, job_files.c.fileid.is_not(None))
    done = sa.select(job_files.c.pandaid).where(
        job_files.c.fileid.in_(own), job_files.c.status == InputFileState.FINISHED, job_files.c.pandaid != job.pandaid
    )
    return tx.scalar(_finished_like(job).where(all_jobs.c.pandaid.in_(done)).order_by(all_jobs.c.pandaid.desc()))


def finished_of_size(tx: sa.Connection, job: Any) -> int | None:
    """Another job, of the same task and kind, that finished, with inputs nearest in size and number."""
    distance = (
        sa.func.abs(all_jobs.c.input_file_bytes - job.input_file_bytes),
        sa.func.abs(all_jobs.c.n_input_files - job.n_input_files),
        sa.func.abs(all_jobs.c.pandaid - job.pandaid),
    )
    return tx.scalar(_finished_like(job).order_by(*distance))


def _finished_like(job: Any) -> sa.Select[int]:
    return (
        sa.select(all_jobs.c.pandaid)
        .where(
            all_jobs.c.jeditaskid == job.jeditaskid,
            all_jobs.c.pandaid != job.pandaid,
            all_jobs.c.kind == job.kind,
            all_jobs.c.status == JobState.FINISHED,
        )
        .limit(1)
    )


def parameters_of(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, str]:
    """The command lines of jobs: {pandaid: text}."""
    found: dict[int, str] = {}
    for some in batches(pandaids):
        statement = sa.select(job_params).where(job_params.c.pandaid.in_(list(some)))
        found.update({row.pandaid: row.job_parameters for row in tx.execute(statement)})
    return found


def multi_steps_of(tx: sa.Connection, jeditaskids: Collection[int]) -> dict[int, Any]:
    """The `multiStepExec` of those tasks that have one: {jeditaskid: object}."""
    statement = sa.select(task_params).where(task_params.c.jeditaskid.in_(list(jeditaskids)))
    return {
        row.jeditaskid: row.parameters["multiStepExec"]
        for row in tx.execute(statement)
        if row.parameters.get("multiStepExec")
    }


def report_of(tx: sa.Connection, pandaid: int) -> sa.Row[Any] | None:
    """What the pilot has reported beyond the state."""
    return tx.execute(sa.select(job_reports).where(job_reports.c.pandaid == pandaid)).first()


def files_of(tx: sa.Connection, pandaid: int) -> list[sa.Row[Any]]:
    """The files of a job, with the names of their datasets."""
    return files_by_job(tx, [pandaid]).get(pandaid, [])


def files_by_job(tx: sa.Connection, pandaids: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    """The files of jobs, with the names of their datasets: {pandaid: rows}."""
    found: dict[int, list[sa.Row[Any]]] = {}
    for some in batches(pandaids):
        statement = (
            sa.select(job_files, datasets.c.dataset_name)
            .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
            .where(job_files.c.pandaid.in_(list(some)))
            .order_by(job_files.c.row_id)
        )
        for row in tx.execute(statement):
            found.setdefault(row.pandaid, []).append(row)
    return found


def find_jobs(tx: sa.Connection, pandaids: Sequence[int], *, with_archive: bool = True) -> dict[int, sa.Row[Any]]:
    """Those jobs that there are, live or archived: {pandaid: row}."""
    found: dict[int, sa.Row[Any]] = {}
    table: sa.FromClause = all_jobs if with_archive else jobs
    for some in batches(pandaids):
        chosen = sa.select(table).where(bulk.among(tx, table.c.pandaid, list(some)))
        found |= {row.pandaid: row for row in tx.execute(chosen)}
    return found


def of_task(tx: sa.Connection, jeditaskid: int, *, unsuccessful_only: bool = False, limit: int) -> list[sa.Row[Any]]:
    """The jobs of a task in the order of their ids, live and archived."""
    statuses = ("failed", "cancelled", "closed") if unsuccessful_only else ()
    return list_jobs(tx, jeditaskid, statuses, limit=limit)


def kinds_of_task(tx: sa.Connection, jeditaskid: int) -> list[sa.Row[Any]]:
    """`pandaid`, `status` and `processing_type` of all jobs of a task, live and archived, by id."""
    statement = sa.select(all_jobs.c.pandaid, all_jobs.c.status, all_jobs.c.processing_type)
    return list(tx.execute(statement.where(all_jobs.c.jeditaskid == jeditaskid).order_by(all_jobs.c.pandaid)))


def outputs_of_dataset(tx: sa.Connection, datasetid: int, *, limit: int) -> list[sa.Row[Any]]:
    """The files that jobs write into a dataset, in the order in which they were planned."""
    statement = sa.select(job_files).where(job_files.c.datasetid == datasetid, job_files.c.type.not_in(INPUT_TYPES))
    return list(tx.execute(statement.order_by(job_files.c.row_id).limit(limit)))


def lost_outputs(tx: sa.Connection, jeditaskid: int, *, limit: int) -> list[str]:
    """The names of files that jobs of a task have made and that no catalogue dataset has any more."""
    registered = (
        sa.select(catalogue_files.c.lfn)
        .join(catalogue_datasets, catalogue_datasets.c.dataset_id == catalogue_files.c.dataset_id)
        .where(catalogue_datasets.c.name == datasets.c.dataset_name, catalogue_files.c.lfn == job_files.c.lfn)
    )
    statement = (
        sa.select(job_files.c.lfn)
        .join(datasets, datasets.c.datasetid == job_files.c.datasetid)
        .where(
            job_files.c.jeditaskid == jeditaskid,
            job_files.c.type == "output",
            job_files.c.status == OutputFileState.FINISHED,
            ~registered.exists(),
        )
    )
    return list(tx.scalars(statement.order_by(job_files.c.lfn).limit(limit)))


def metadata_of_task(tx: sa.Connection, jeditaskid: int) -> dict[int, str]:
    """What the payloads of a task have left as metadata: {pandaid: text}."""
    statement = sa.select(job_metadata).where(job_metadata.c.jeditaskid == jeditaskid)
    return {row.pandaid: row.metadata for row in tx.execute(statement.order_by(job_metadata.c.pandaid))}


def events_of(tx: sa.Connection, pandaid: int, *, limit: int = 200) -> list[sa.Row[Any]]:
    """What happened to a job, the oldest first; the last `limit` lines."""
    statement = sa.select(job_events).where(job_events.c.pandaid == pandaid)
    return list(reversed(tx.execute(statement.order_by(job_events.c.id.desc()).limit(limit)).all()))


def events_after(tx: sa.Connection, places: Mapping[int, int], *, first: int) -> list[sa.Row[Any]]:
    """What happened to jobs after the steps with these ids, {pandaid: id}; the last `first` steps where it is 0."""
    return steps_after(tx, job_events, job_events.c.pandaid, places, first)
