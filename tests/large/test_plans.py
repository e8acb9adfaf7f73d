"""What the statements of the hot path read when there are a million jobs: their index, and no more rows than they must.

Each is run for real, often enough to get the plan that PostgreSQL keeps for any parameters, and undone. Rows read are
counted by PostgreSQL itself, so that a walk through a whole index is found as well as one through a whole table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bamboo.core.job_errors import LOST_HEARTBEAT
from bamboo.core.states import JobState, TaskState
from bamboo.sql import (
    accounting,
    archive,
    claims,
    completion,
    datasets,
    decisions,
    files,
    heartbeats,
    job_queries,
    jobs,
    merging,
    past_failures,
    task_queries,
    tasks,
)
from bamboo.sql import tables as t
from bamboo.sql.selection import Selection
from bamboo.tests.large.conftest import (
    LATER,
    NOW,
    REPORTED,
    RUNNING,
    Large,
)

#: How often PostgreSQL makes a plan for the parameters at hand before it thinks of one for all.
TIMES = 12
#: The tables that grow with the queue or with history.
LARGE = {"jobs", "files", "job_files", "job_events", "job_params", "job_reports", "tasks", "datasets", "decisions"}


# What is run.


def _claim(large: Large, tx: sa.Connection, **wanted: Any) -> None:
    asked = claims.Claim(queue="Q3", labels=("user",), memory_mb=4000, **wanted)
    assert claims.claim(tx, asked, lease_until=LATER, now=NOW)


def _claim_by_share(large: Large, tx: sa.Connection) -> None:
    _claim(large, tx, shares=("nobody", *(f"Leaf{n}" for n in range(9))))


def _claim_alone(large: Large, tx: sa.Connection) -> None:
    _claim(large, tx)


def _look_for_claimed(large: Large, tx: sa.Connection) -> None:
    assert claims.claimed_before(tx, "Q3", "a key") == []


def _handout(large: Large, tx: sa.Connection) -> None:
    assert claims.files_to_move(tx, large.running[:5])


def _report(large: Large, tx: sa.Connection) -> None:
    row = job_queries.lock_for_report(tx, large.running[5])
    jobs.move_job(tx, jobs.ref(row), JobState.HOLDING, actor="p", why="w", now=NOW, report={"job_metrics": "m"})
    tx.execute(sa.update(t.jobs).where(t.jobs.c.pandaid == row.pandaid).values(status="running", lease_until=LATER))


def _heartbeats(large: Large, tx: sa.Connection) -> None:
    beats = [
        heartbeats.Heartbeat(job, 1, LATER, NOW, {"max_rss_kb": 1}, {"stdout_tail": "x"}) for job in large.running[:200]
    ]
    assert heartbeats.write(tx, beats) == 200


def _adder(large: Large, tx: sa.Connection) -> None:
    """Its page, half booked as failed."""
    held = jobs.refs(tx, jobs.is_in(JobState.HOLDING), limit=20, lock=True)
    rows = jobs.rows_of(tx, held)
    ids = [row.pandaid for row in rows]
    accounting.job_files_of(tx, ids)
    accounting.reports_of(tx, ids)
    merging.left_alone(tx, ids)
    endings = [
        accounting.Ending(job, JobState.FINISHED if n % 2 else JobState.FAILED, "w", errors=LOST_HEARTBEAT.columns("d"))
        for n, job in enumerate(held)
    ]
    assert len(accounting.book(tx, endings, actor="adder", now=NOW)) == 20
    completion.complete_tasks(tx, {row.jeditaskid for row in rows}, actor="adder", now=NOW)


def _generator(large: Large, tx: sa.Connection) -> None:
    """Inputs that a failure gave back, and their numbers."""
    source = large.dataset("input")
    some = tx.scalars(sa.select(t.files.c.fileid).where(t.files.c.datasetid == source).limit(20)).all()
    tx.execute(sa.update(t.files).where(t.files.c.fileid.in_(some)).values(status="ready", pandaid=None))
    assert len(files.ready(tx, source, limit=10)) == 10
    tasks.take_serials(tx, large.task, 10)
    datasets.add_counts(tx, {source: {"n_files_used": 1}}, now=NOW)


def _take_task(large: Large, tx: sa.Connection) -> None:
    assert tasks.take(tx, [TaskState.RUNNING], owner="a", until=LATER, now=NOW, limit=5)


def _nothing_to_archive(large: Large, tx: sa.Connection) -> None:
    assert archive.archive_jobs(tx, before=NOW - timedelta(days=3), now=NOW, limit=1000).jobs == 0


def _archive_a_task(large: Large, tx: sa.Connection) -> None:
    tasks.update_task(tx, large.task, status=TaskState.DONE, state_changed_at=NOW - timedelta(days=9))
    tx.execute(
        sa.update(t.jobs).where(t.jobs.c.jeditaskid == large.task).values(state_changed_at=NOW - timedelta(days=9))
    )
    archive.archive_jobs(tx, before=NOW - timedelta(days=3), now=NOW, limit=10)


def _forget(large: Large, tx: sa.Connection) -> None:
    assert archive.forget_jobs(tx, before=NOW - timedelta(days=80), limit=50) == 50


def _forget_nothing(large: Large, tx: sa.Connection) -> None:
    assert archive.forget_jobs(tx, before=NOW - timedelta(days=700), limit=50) == 0


def _jobs_of_task(large: Large, tx: sa.Connection) -> None:
    after = job_queries.list_jobs(tx, large.task, limit=20)[-1].pandaid
    listed = job_queries.list_jobs(tx, large.task, ["finished", "running"], after=after, limit=20)
    assert len(listed) == 20
    assert job_queries.of_task(tx, large.task, unsuccessful_only=True, limit=20) == []


def _jobs_of_all(large: Large, tx: sa.Connection) -> None:
    first, last = large.archived[-10], large.archived[-1]
    assert {job.is_archived for job in job_queries.list_jobs(tx, None, after=first, limit=20)} == {True, False}
    assert job_queries.list_jobs(tx, None, after=last, limit=20)


def _one_job(large: Large, tx: sa.Connection) -> None:
    for pandaid in (large.archived[3], large.running[3]):
        job = job_queries.find_job(tx, pandaid)
        assert job.is_archived == (pandaid in large.archived)
        assert job_queries.find_jobs(tx, [pandaid])
        assert job_queries.states_of(tx, [pandaid])
        job_queries.files_of(tx, pandaid)
        job_queries.events_of(tx, pandaid)
        job_queries.parameters_of(tx, [pandaid])
        job_queries.report_of(tx, pandaid)
        jobs.times_sent(tx, [pandaid])


def _one_task(large: Large, tx: sa.Connection) -> None:
    assert sum(task_queries.job_counts(tx, large.task).values()) == len(job_queries.ids_of_task(tx, large.task))
    assert task_queries.error_groups(tx, large.task) == []
    assert job_queries.kinds_of_task(tx, large.task)
    assert task_queries.file_counts(tx, [large.task])
    assert jobs.open_jobs(tx, large.task)
    assert jobs.of_task(tx, large.task, [JobState.ACTIVATED], limit=20)
    assert tasks.get_task(tx, large.task)
    task_queries.events_of(tx, large.task)
    decisions.of_task(tx, large.task)


def _list_tasks(large: Large, tx: sa.Connection) -> None:
    newest = Selection()
    assert task_queries.list_tasks(tx, newest, limit=50)
    mine = Selection({"user_name": ["Bench User"]}, before=large.task)
    assert task_queries.list_tasks(tx, mine, limit=5)
    assert task_queries.list_tasks(tx, Selection({"task_name": ["user.old.77"]}), limit=50)
    assert task_queries.list_tasks(tx, Selection(modified_since=NOW + timedelta(days=1)), limit=50) == []
    assert tasks.namesakes(tx, "user.old.77", None, "bamboo", "user")


def _outcome(large: Large, tx: sa.Connection) -> None:
    assert past_failures.outcome(tx, large.running[:5]).inputs == 5


def _watcher(large: Large, tx: sa.Connection) -> None:
    """It looks at what pilots have, and at nothing that waits or is over."""
    assert jobs.refs(tx, *jobs.overdue(NOW), limit=200, lock=True) == []
    too_long = t.jobs.c.state_changed_at < NOW - timedelta(hours=2)
    for state in (JobState.RUNNING, JobState.HOLDING, JobState.DEFINED):
        assert jobs.refs(tx, jobs.is_in(state), too_long, limit=200, lock=True) == []


@dataclass(frozen=True)
class Cost:
    """What an act may cost: rows of large tables that it reads, and indexes that the plans for it must name so often.

    The rows are a multiple of what it asks for, and nowhere near of what there is.
    """

    rows: int
    indexes: Mapping[str, int] = field(default_factory=dict)


#: What a task's page shows may grow with the task (some 600 jobs here), and the watcher looks at all that pilots have.
COSTS: dict[Callable[[Large, sa.Connection], None], Cost] = {
    _claim_alone: Cost(20, {"ix_jobs_claim on jobs": 1}),
    _claim_by_share: Cost(30, {"ix_jobs_claim_share": 1 + 10}),  # the first share is tried alone, before all of them
    _look_for_claimed: Cost(20, {"ix_jobs_sent": 1}),
    _handout: Cost(100),
    _report: Cost(20),
    _heartbeats: Cost(1000),
    _adder: Cost(2000, {"ix_jobs_holding": 1}),
    _generator: Cost(1500, {"ix_files_ready": 1}),
    _take_task: Cost(10_000, {"ix_tasks_status": 1}),  # all tasks at work are put in order
    _nothing_to_archive: Cost(5, {"ix_tasks_to_archive": 1}),
    _archive_a_task: Cost(5000, {"ix_tasks_to_archive": 1}),
    _forget: Cost(1000),
    _forget_nothing: Cost(5),
    _jobs_of_task: Cost(2000),
    _jobs_of_all: Cost(200),
    _one_job: Cost(100),
    _one_task: Cost(8000),
    _list_tasks: Cost(300),
    _outcome: Cost(2000),
    _watcher: Cost(3 * (RUNNING + REPORTED), {"ix_jobs_leased": 2, "ix_jobs_holding": 1, "ix_jobs_queued": 1}),
}


@contextmanager
def planned(tx: sa.Connection) -> Iterator[list[str]]:
    """The plans of the statements that are run within."""
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if not many and statement.lstrip("/*abcdefghijklmnopqrstuvwxyz._ ").startswith(
            ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
        ):
            cursor.execute("EXPLAIN " + statement, parameters)
            plans.append("\n".join([statement[:200], *(line for (line,) in cursor.fetchall())]))

    sa.event.listen(tx, "before_cursor_execute", explain)
    yield plans
    sa.event.remove(tx, "before_cursor_execute", explain)


def is_large(table: str) -> bool:
    return table in LARGE or table.startswith("archived_jobs_")


def read(tx: sa.Connection, column: str) -> Counter[str]:
    """Rows of the large tables that this connection has read, by a figure of PostgreSQL's."""
    rows = tx.exec_driver_sql(f"SELECT relname, coalesce({column}, 0) FROM pg_stat_xact_user_tables")  # noqa: S608
    return Counter({table: int(n) for table, n in rows if is_large(table)})


def overspent(large: Large, act: Callable[[Large, sa.Connection], None], cost: Cost) -> str:
    """What an act does that it should not, with its plans; empty if all is well."""
    with large.engine.connect() as tx:
        with planned(tx) as plans:
            act(large, tx)
        tx.rollback()
        before = {column: read(tx, column) for column in ("seq_tup_read", "idx_tup_fetch")}
        for _ in range(TIMES):
            act(large, tx)
        scanned, fetched = (read(tx, column) - before[column] for column in before)
        tx.rollback()
    told = "\n".join(plans)
    faults = [f"{n} rows of {table} in no order of an index" for table, n in scanned.items()]
    faults += [f"reads {table} as a whole" for table in LARGE if f"Seq Scan on {table} " in told]
    named = {index: told.count(index) for index in cost.indexes}
    faults += [f"{index} {n} times" for index, n in named.items() if n != cost.indexes[index]]
    if fetched.total() > cost.rows * TIMES:
        faults.append(f"{fetched.total() / TIMES:.0f} rows read, {cost.rows} expected: {fetched}")
    return "\n".join([*faults, told]) if faults else ""


def test_the_hot_path_reads_what_it_needs_of_a_million_jobs(large: Large) -> None:
    """One test for all, as the database is filled for each process that runs a part of them."""
    faults = {act.__name__: told for act, cost in COSTS.items() if (told := overspent(large, act, cost))}
    assert not faults, "\n\n".join(f"{name}: {told}" for name, told in faults.items())
