"""A database with more than a million jobs, made once for all tests of this folder that run in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.benchmarks.database import settle
from bamboo.benchmarks.population import Population
from bamboo.core.clock import utc_now
from bamboo.core.states import JobState, TaskState
from bamboo.sql import archive_partitions
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine

#: So far ahead that the twelve months before it have partitions of their own.
NOW = utc_now() + timedelta(days=400)
LATER = NOW + timedelta(hours=1)
#: A million jobs that ended, wait, run or were just reported, beside those of the archive.
ENDED, WAITING, RUNNING, REPORTED, ARCHIVED = 780_000, 170_000, 49_000, 1_000, 250_000
N_QUEUES, N_TASKS = 100, 2_000


@dataclass(frozen=True)
class Large:
    """The database, and what to ask it for."""

    engine: sa.Engine
    population: Population
    running: range
    reported: range
    archived: range

    @property
    def task(self) -> int:
        """A task with jobs of all kinds."""
        return self.population.first_task + 7

    @property
    def url(self) -> str:
        """Where it is."""
        return self.engine.url.render_as_string(hide_password=False)

    def dataset(self, kind: str) -> int:
        """The dataset of that task that has this type."""
        with self.engine.connect() as tx:
            mine = (t.datasets.c.jeditaskid == self.task, t.datasets.c.type == kind)
            return int(tx.scalars(sa.select(t.datasets.c.datasetid).where(*mine)).one())


@pytest.fixture(scope="session")
def large(new_postgres_database: Callable[[], Any]) -> Iterator[Large]:
    with new_postgres_database() as url:
        engine = open_engine(url, statement_seconds=0)
        population = Population.start(url, seed=1, n_queues=N_QUEUES, n_tasks=N_TASKS, now=NOW)
        archived = population.add_jobs(ARCHIVED, JobState.FINISHED, with_files=False)
        _archive(engine)
        population.add_jobs(ENDED, JobState.FINISHED, with_files=False)
        population.add_jobs(WAITING, JobState.ACTIVATED)
        running = population.add_jobs(RUNNING, JobState.RUNNING)
        reported = population.add_jobs(REPORTED, JobState.HOLDING)
        population.finish()
        _add_old_tasks(engine)
        settle(url)
        yield Large(engine, population, running, reported, archived)
        engine.dispose()


def _archive(engine: sa.Engine) -> None:
    """Move all jobs to the archive, as jobs of the last year."""
    months = [NOW - timedelta(days=30 * n + 5) for n in range(12)]
    with engine.begin() as tx:
        while archive_partitions.make_next(tx, until=NOW):
            pass
        names = [column.name for column in t.archived_jobs.columns if column.name != "modified_at"]
        at = sa.case(
            *((t.jobs.c.pandaid % len(months) == n, sa.literal(month)) for n, month in enumerate(months)),
            else_=months[0],
        )
        moved = sa.select(*(t.jobs.c[name] for name in names), at)
        tx.execute(sa.insert(t.archived_jobs).from_select([*names, "modified_at"], moved))
        tx.exec_driver_sql("TRUNCATE jobs")


def _add_old_tasks(engine: sa.Engine, n: int = 100_000) -> None:
    """Tasks of the past, whose jobs are archived, each with a decision."""
    number = sa.func.generate_series(1, n).table_valued("number").render_derived().c.number
    long_ago = sa.literal(NOW - timedelta(days=99), t.tasks.c.created_at.type)
    moments = ("created_at", "modified_at", "state_changed_at", "jobs_archived_at")
    words = {"user_name": "Old User", "vo": "bamboo", "prod_source_label": "user", "status": TaskState.DONE}
    values = {
        "task_name": sa.literal("user.old.") + sa.cast(number, sa.String),
        "split_rule": sa.literal({}, t.tasks.c.split_rule.type),
        **{name: sa.literal(word) for name, word in words.items()},
        **dict.fromkeys(moments, long_ago),
    }
    with engine.begin() as tx:
        tx.execute(sa.insert(t.tasks).from_select(list(values), sa.select(*values.values())))
        decided: dict[str, Any] = {"actor": "a", "what": "w", "why": {}, "repeated": 0, "at": NOW, "last_at": NOW}
        given = [sa.literal(value, t.decisions.c[name].type) for name, value in decided.items()]
        old = sa.select(t.tasks.c.jeditaskid, *given).where(t.tasks.c.user_name == "Old User")
        tx.execute(sa.insert(t.decisions).from_select(["jeditaskid", *decided], old))
