"""Views with PanDA's names, for administrators and monitors who write SQL (docs/views.md lists them).

A view is there where PanDA has a table of that name whose rows mean the same; columns have PanDA's names in small
letters. What stands behind a view may change, its name and columns do not. Nothing in Bamboo writes through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..core.panda_names import JOB_COLUMNS, TASK_COLUMNS
from ..core.states import JOBS

_FILE = {
    "fileid": "fileid",
    "datasetid": "datasetid",
    "jeditaskid": "jeditaskid",
    "lfn": "lfn",
    "scope": "scope",
    "guid": "guid",
    "status": "status",
    "fsize": "size_bytes",
    "checksum": "checksum",
    "nevents": "n_events",
    "firstevent": "first_event",
    "attemptnr": "attempt_nr",
    "failedattempt": "failed_attempts",
    "maxattempt": "max_attempt",
    "pandaid": "pandaid",
}
_DATASET = {
    "datasetid": "datasetid",
    "jeditaskid": "jeditaskid",
    "datasetname": "dataset_name",
    "containername": "container_name",
    "type": "type",
    "streamname": "stream_name",
    "status": "status",
    "nfiles": "n_files",
    "nfilesused": "n_files_used",
    "nfilesonhold": "n_files_on_hold",
    "nfilesfinished": "n_files_finished",
    "nfilesfailed": "n_files_failed",
    "nfilesmissing": "n_files_missing",
    "nevents": "n_events",
    "creationtime": "created_at",
    "modificationtime": "modified_at",
}
_JOB_FILE = {
    "row_id": "row_id",
    "pandaid": "pandaid",
    "jeditaskid": "jeditaskid",
    "datasetid": "datasetid",
    "fileid": "fileid",
    "type": "type",
    "lfn": "lfn",
    "scope": "scope",
    "guid": "guid",
    "status": "status",
    "fsize": "size_bytes",
    "checksum": "checksum",
    "destinationse": "storage",
}
_STEP = {"status": "new_status", "modificationtime": "at", "modificationhost": "actor", "why": "why"}
_WORKER = {
    "harvesterid": "harvester_id",
    "workerid": "worker_id",
    "computingsite": "queue",
    "status": "status",
    "pilotstatus": "pilot_status",
    "nodeid": "node",
    "batchid": "batch_id",
    "njobs": "n_jobs",
    "submittime": "created_at",
    "lastupdate": "modified_at",
}
_SHARE_STATS = {
    "computingsite": "queue",
    "gshare": "gshare",
    "resource_type": "resource_type",
    "prodsourcelabel": "prod_source_label",
    "jobstatus": "status",
    "workqueue_id": "work_queue_id",
    "njobs": "n_jobs",
    "hs": "n_cores",
    "ts": "counted_at",
}


@dataclass(frozen=True)
class PandaView:
    """A view: PanDA's column names to ours of a table (or view) `of`; `over` chooses jobs that are over, or not."""

    of: str
    columns: Mapping[str, str]
    over: bool | None = None


def _small(columns: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): column for name, column in columns.items()}


VIEWS = {
    "jedi_tasks": PandaView("tasks", _small(TASK_COLUMNS)),
    "jedi_datasets": PandaView("datasets", _DATASET),
    "jedi_dataset_contents": PandaView("files", _FILE),
    "jobsactive4": PandaView("jobs", _small(JOB_COLUMNS), over=False),
    "jobsarchived4": PandaView("all_jobs", _small(JOB_COLUMNS), over=True),
    "filestable4": PandaView("job_files", _JOB_FILE),
    "jobs_statuslog": PandaView("job_events", {"pandaid": "pandaid", "attemptnr": "attempt_nr", **_STEP}),
    "tasks_statuslog": PandaView("task_events", {"jeditaskid": "jeditaskid", **_STEP}),
    "harvester_workers": PandaView("workers", _WORKER),
    "jobs_share_stats": PandaView("job_counts", _SHARE_STATS),
}


def create(connection: sa.Connection) -> None:
    """Make the views, each with those of its columns that its table has at this revision."""
    inspector = sa.inspect(connection)
    for name, view in VIEWS.items():
        there = {column["name"] for column in inspector.get_columns(view.of)}
        given: list[sa.ColumnElement[Any]] = [
            sa.column(column).label(label) for label, column in view.columns.items() if column in there
        ]
        chosen = sa.select(*given).select_from(sa.table(view.of))
        if view.over is not None:
            is_over = sa.column("status", sa.String).in_(sorted(JOBS.final))
            chosen = chosen.where(is_over if view.over else ~is_over)
        text = chosen.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {text}")


def drop(connection: sa.Connection) -> None:
    """Take the views away, those that are there."""
    there = sa.inspect(connection).get_view_names()
    for name in VIEWS:
        if name in there:
            connection.exec_driver_sql(f"DROP VIEW {name}")
