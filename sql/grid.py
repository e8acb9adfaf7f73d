"""The state of the grid for brokers: links, what queues do, what they publish, where inputs are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.states import TASKS, InputFileState, JobState
from .tables import datasets, files, jobs, links, queue_activity, queues, software, storages, tasks, workers

_THROUGHPUTS = ("mbps_hour", "mbps_day", "mbps_week")


def links_to(tx: sa.Connection, site: str | None = None) -> list[sa.Row[Any]]:
    """The links that end at a site, or all, with `mbps`: the newest throughput that there is (manual ch. 12.1.2)."""
    newest = sa.func.coalesce(*(links.c[name] for name in _THROUGHPUTS)).label("mbps")
    statement = sa.select(links, newest).order_by(links.c.source, links.c.destination)
    return list(tx.execute(statement if site is None else statement.where(links.c.destination == site)))


def set_link(tx: sa.Connection, source: str, destination: str, *, now: datetime, **values: Any) -> None:
    """Enter a link or change some of what is known of it."""
    where = (links.c.source == source, links.c.destination == destination)
    if tx.execute(sa.update(links).where(*where).values(modified_at=now, **values)).rowcount == 0:
        tx.execute(sa.insert(links).values(source=source, destination=destination, modified_at=now, **values))


def activities(tx: sa.Connection) -> list[sa.Row[Any]]:
    """What each queue does that has been heard of."""
    return list(tx.execute(sa.select(queue_activity)))


def note_activity(tx: sa.Connection, queue: str, **values: Any) -> None:
    """Note what a queue does; what is not named stays as it is."""
    if tx.execute(sa.update(queue_activity).where(queue_activity.c.queue == queue).values(values)).rowcount == 0:
        tx.execute(sa.insert(queue_activity).values(queue=queue, **values))


def note_pilot(tx: sa.Connection, queue: str, *, now: datetime) -> bool:
    """Note that a pilot has asked a queue for work; returns whether there is such a queue.

    Raises `IntegrityError` when another transaction enters the same queue for the first time.
    """
    if tx.execute(sa.update(queue_activity).where(queue_activity.c.queue == queue).values(last_pilot_at=now)).rowcount:
        return True
    if tx.execute(sa.select(queues.c.queue).where(queues.c.queue == queue)).first() is None:
        return False
    tx.execute(sa.insert(queue_activity).values(queue=queue, last_pilot_at=now))
    return True


def software_documents(tx: sa.Connection) -> dict[str, Mapping[str, Any]]:
    """What each queue publishes of its software (manual ch. 12.1.1); `ALL` stands for every queue."""
    return {row.queue: row.document for row in tx.execute(sa.select(software))}


def set_software(tx: sa.Connection, queue: str, document: Mapping[str, Any], *, now: datetime) -> None:
    """Enter or replace what a queue publishes of its software."""
    values = {"document": dict(document), "modified_at": now}
    if tx.execute(sa.update(software).where(software.c.queue == queue).values(values)).rowcount == 0:
        tx.execute(sa.insert(software).values(queue=queue, **values))


def places_of_ready(tx: sa.Connection, jeditaskid: int, *, limit: int) -> list[sa.Row[Any]]:
    """URL, size and events of the next inputs of a task, from which follows where they are."""
    statement = (
        sa.select(files.c.url, files.c.size_bytes, files.c.n_events, datasets.c.type)
        .join(datasets, datasets.c.datasetid == files.c.datasetid)
        .where(datasets.c.jeditaskid == jeditaskid, datasets.c.is_master, files.c.status == InputFileState.READY)
        .order_by(files.c.fileid)
        .limit(limit)
    )
    return list(tx.execute(statement))


def secondary_streams(tx: sa.Connection, jeditaskid: int, *, limit: int) -> list[sa.Row[Any]]:
    """The secondary inputs of a task: selection, n_files, and mean_bytes of their first files."""
    of_stream = files.c.datasetid == datasets.c.datasetid
    some = sa.select(files.c.size_bytes).where(of_stream).correlate(datasets).limit(limit).subquery()
    mean = sa.func.coalesce(sa.select(sa.func.avg(some.c.size_bytes)).scalar_subquery(), 0)
    statement = sa.select(datasets.c.selection, datasets.c.n_files, sa.cast(mean, sa.Float).label("mean_bytes"))
    mine = (datasets.c.jeditaskid == jeditaskid, datasets.c.type == "input", sa.not_(datasets.c.is_master))
    return list(tx.execute(statement.where(*mine).order_by(datasets.c.datasetid)))


def storage_rows(tx: sa.Connection) -> list[sa.Row[Any]]:
    """All storages with the URL that their files begin with."""
    return list(tx.execute(sa.select(storages, (storages.c.endpoint + storages.c.path).label("url"))))


def backlog_files(tx: sa.Connection) -> dict[str, int]:
    """How many inputs the tasks still have to process whose outputs go to each storage: {storage: files}."""
    left = sa.func.sum(datasets.c.n_files - datasets.c.n_files_finished - datasets.c.n_files_failed)
    going = [state for state in TASKS.rows if state not in TASKS.final]
    statement = (
        sa.select(tasks.c.nucleus, left)
        .join(datasets, datasets.c.jeditaskid == tasks.c.jeditaskid)
        .where(tasks.c.nucleus.is_not(None), tasks.c.status.in_(going), datasets.c.is_master)
        .group_by(tasks.c.nucleus)
    )
    return {nucleus: int(n or 0) for nucleus, n in tx.execute(statement)}


def measure_activity(tx: sa.Connection) -> None:
    """Bring up to date what follows from our own tables: the last start, batch workers and disk I/O of each queue."""
    measured: dict[str, dict[str, Any]] = {}
    before = {str(row.queue): row for row in activities(tx)}
    starts = sa.select(jobs.c.queue, sa.func.max(jobs.c.started_at)).group_by(jobs.c.queue)
    for queue, started_at in tx.execute(starts):
        last = before[queue].last_start_at if queue in before else None
        if started_at is not None and (last is None or started_at > last):
            measured.setdefault(queue, {})["last_start_at"] = started_at
    alive = workers.c.status.in_(("submitted", "running"))
    batch = sa.select(workers.c.queue, sa.func.count()).where(alive, workers.c.queue.is_not(None))
    known = {queue for queue, row in before.items() if row.n_batch_workers}
    counted = {str(queue): int(n) for queue, n in tx.execute(batch.group_by(workers.c.queue))}
    for queue in known | counted.keys():
        measured.setdefault(queue, {})["n_batch_workers"] = counted.get(queue, 0)
    disk_io = _disk_io(tx)
    for queue in disk_io.keys() | {queue for queue, row in before.items() if row.disk_io_kbps_per_core is not None}:
        measured.setdefault(queue, {})["disk_io_kbps_per_core"] = disk_io.get(queue)
    for queue, values in sorted(measured.items()):
        if queue not in before or any(getattr(before[queue], name) != value for name, value in values.items()):
            note_activity(tx, queue, **values)


def _disk_io(tx: sa.Connection) -> dict[str, float]:
    """The mean disk I/O of the running jobs of each queue, in kB/s and core, as scouts measured or tasks state it."""
    statement = (
        sa.select(jobs.c.queue, jobs.c.jeditaskid, sa.func.count(), sa.func.sum(jobs.c.core_count))
        .where(jobs.c.status == JobState.RUNNING)
        .group_by(jobs.c.queue, jobs.c.jeditaskid)
    )
    running = tx.execute(statement).all()
    busy = sa.select(jobs.c.jeditaskid).where(jobs.c.status == JobState.RUNNING)
    columns = (tasks.c.jeditaskid, tasks.c.disk_io, tasks.c.split_rule)
    rules = tx.execute(sa.select(*columns).where(tasks.c.jeditaskid.in_(busy)))
    stated = {jeditaskid: measured or float(rule.get("diskIO") or 0) for jeditaskid, measured, rule in rules}
    totals: dict[str, list[float]] = {}
    for queue, jeditaskid, n_jobs, n_cores in running:
        total = totals.setdefault(queue, [0.0, 0.0])
        total[0] += stated.get(jeditaskid, 0.0) * n_jobs
        total[1] += n_cores
    return {queue: kbps / n_cores for queue, (kbps, n_cores) in totals.items() if n_cores}
