"""Databases full of tasks, jobs and files, made inside the database: a million jobs with all their rows in a minute.

The rows are those that submission, JEDI and pilots would have left. All values follow from the number of a job and the
seed, so that two runs with the same seed have the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bamboo.core.clock import utc_now
from bamboo.core.shares import Share
from bamboo.core.states import LEASED, InputFileState, JobState, OutputDatasetState, OutputFileState, TaskState
from bamboo.sql import catalogue, counts, queues, shares
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine
from bamboo.sql.tables.tasks import FIRST_TASK_ID

VO = "bamboo"
USER = "Bench User"
#: A queue for which there never is a job.
EMPTY_QUEUE = "EMPTY"
#: Shares at each level of the tree; the leaves are the product.
SHARES_PER_LEVEL = (3, 3, 3)
N_LEAVES = 27
PRIORITIES = 1000
#: Rows that one statement enters.
CHUNK = 100_000
#: Nobody's lease ends during a measurement.
LEASE = timedelta(days=7)
HOLDER = {"pilot_id": "bench|SLURM||PR|3.0", "node": "wn1.example.org"}
#: Mixes job numbers: a multiplier and a prime modulus, large and otherwise of no meaning.
MULTIPLIER, MODULUS = 48_271, 2_147_483_647


@dataclass
class Population:
    """Fills one database. Jobs are spread over queues, leaves of the share tree, priorities and tasks."""

    engine: sa.Engine
    seed: int
    n_queues: int = 200
    n_tasks: int = 100
    now: datetime = field(default_factory=utc_now)
    first_task: int = 0
    n_jobs: int = 0

    @classmethod
    def start(
        cls, url: str, *, seed: int, n_queues: int = 200, n_tasks: int = 100, now: datetime | None = None
    ) -> Population:
        """Enter queues, shares and tasks; `now` is when everything happens."""
        population = cls(open_engine(url, statement_seconds=0), seed, n_queues, n_tasks, now or utc_now())
        population._enter_grid()
        if n_tasks:
            population._enter_tasks()
        return population

    def queue(self, number: int) -> str:
        """The name of a queue."""
        return f"Q{number}"

    def add_jobs(self, n: int, status: JobState, *, with_files: bool = True) -> range:
        """Enter jobs in a state, with the ids that are returned; `with_files` also an input, an output and a log each.

        Jobs that are `holding` come with a report of a success.
        """
        first = self.n_jobs + 1
        for start in range(first, first + n, CHUNK):
            numbers = self._series(start, min(start + CHUNK, first + n) - 1)
            with self.engine.begin() as tx:
                if tx.dialect.name == "postgresql":
                    tx.exec_driver_sql("SET LOCAL synchronous_commit = off")
                self._enter_jobs(tx, numbers, status)
                if with_files:
                    self._enter_files(tx, numbers, status)
                if status is JobState.HOLDING:
                    self._enter_reports(tx, numbers)
        self.n_jobs += n
        return range(first, first + n)

    def add_dataset(self, name: str, n_files: int) -> None:
        """Register a dataset of files in the catalogue."""
        with self.engine.begin() as tx:
            dataset = catalogue.ensure_dataset(tx, name, user_name=USER, now=self.now)
        for start in range(1, n_files + 1, CHUNK):
            n = self._series(start, min(start + CHUNK - 1, n_files))
            lfn = sa.literal("in.") + sa.cast(n.c.n, sa.String)
            words = {"guid": "guid-" + lfn, "url": sa.literal("file://localhost/storage/") + lfn}
            figures = {"size_bytes": 1_000_000, "adler32": "12345678", "created_at": self._moment(self.now)}
            with self.engine.begin() as tx:
                self._copy(
                    tx, t.catalogue_files, n, dataset_id=dataset, lfn=lfn, scope="user.bench", **words, **figures
                )

    def bring_in_line(self) -> None:
        """Make counters, kept counts and numbering what they should be with these rows."""
        with self.engine.begin() as tx:
            self._count_files(tx)
            counts.replace(tx, now=utc_now())
            for table, column in ((t.jobs, "pandaid"), (t.files, "fileid"), (t.tasks, "jeditaskid")):
                self._number_on(tx, table, column)
            self._number_on(tx, t.datasets, "datasetid")

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def finish(self) -> None:
        """Nothing more is entered."""
        self.bring_in_line()
        self.close()

    def _number_on(self, tx: sa.Connection, table: sa.Table, column: str) -> None:
        if tx.dialect.name == "postgresql":
            sequence = sa.func.pg_get_serial_sequence(table.name, column)
            tx.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(sa.func.max(table.c[column]), 1))))

    # The grid and the tasks.

    def _enter_grid(self) -> None:
        with self.engine.begin() as tx:
            queues.set_storage(tx, "DISK", site="BENCH", endpoint="file://localhost", path="/storage")
            for number in range(self.n_queues):
                queues.set_queue(tx, self.queue(number), {"site": "BENCH", "storage": "DISK"}, now=self.now)
            queues.set_queue(tx, EMPTY_QUEUE, {"site": "BENCH", "storage": "DISK"}, now=self.now)
            shares.set_shares(tx, share_tree())

    def _enter_tasks(self) -> None:
        with self.engine.begin() as tx:
            have = tx.scalar(sa.select(sa.func.max(t.tasks.c.jeditaskid)))
            self.first_task = max(have or 0, FIRST_TASK_ID) + 1
            n = self._series(0, self.n_tasks - 1)
            task, name = self.first_task + n.c.n, sa.literal("user.bench.") + sa.cast(n.c.n, sa.String)
            moments = dict.fromkeys(("created_at", "modified_at", "state_changed_at"), self._moment(self.now))
            words = {"user_name": USER, "vo": VO, "prod_source_label": "user", "status": TaskState.RUNNING}
            self._copy(
                tx, t.tasks, n, jeditaskid=task, task_name=name, gshare=self._leaf(n), split_rule={}, **words, **moments
            )
            parameters = {"taskName": "bench", "vo": VO, "userName": USER, "jobParameters": []}
            self._copy(tx, t.task_params, n, jeditaskid=task, parameters=parameters)
            stamps = {name: moments[name] for name in ("created_at", "modified_at")}
            for number, (kind, stream, is_master) in enumerate(DATASETS):
                self._copy(
                    tx,
                    t.datasets,
                    n,
                    datasetid=self._dataset(n.c.n, number),
                    jeditaskid=task,
                    type=kind,
                    dataset_name=name + f".{kind}",
                    stream_name=stream,
                    is_master=is_master,
                    status=OutputDatasetState.RUNNING if number else "ready",
                    selection={},
                    **stamps,
                )

    # Jobs and what belongs to them.

    def _enter_jobs(self, tx: sa.Connection, n: sa.FromClause, status: JobState) -> None:
        number, mixed = n.c.n, self._mixed(n)
        moments = ("created_at", "modified_at", "state_changed_at")
        values: dict[str, Any] = {
            "pandaid": number,
            "jeditaskid": self.first_task + number % self.n_tasks,
            "status": status,
            "attempt_nr": 1,
            "serial_nr": number,
            "queue": sa.literal("Q") + sa.cast(mixed % self.n_queues, sa.String),
            "gshare": self._leaf(n),
            "current_priority": (mixed // (self.n_queues * N_LEAVES)) % PRIORITIES,
            "resource_type": "SCORE",
            "prod_source_label": "user",
            "vo": VO,
            "user_name": USER,
            "transformation": "http://localhost/trf/user/run_gen.py",
            "core_count": 1,
            "min_ram_count_mb": 2000,
            "max_disk_count_mb": 10_000,
            "max_walltime_seconds": 0,
            "n_input_files": 1,
            "input_file_bytes": 1_000_000,
            **dict.fromkeys(moments, self._moment(self.now)),
        }
        if status in LEASED:
            values |= {
                "lease_until": self._moment(self.now + timedelta(days=7)),
                "heartbeat_at": self._moment(self.now),
            }
            values |= {
                "started_at": self._moment(self.now),
                "pilot_id": "bench|SLURM||PR|3.0",
                "node": "wn1.example.org",
            }
        if status in (JobState.HOLDING, JobState.FINISHED):
            values |= {"reported_status": "finished", "started_at": self._moment(self.now)}
            values |= {"ended_at": self._moment(self.now), "trans_exit_code": 0}
        self._copy(tx, t.jobs, n, **values)
        self._copy(tx, t.job_params, n, pandaid=number, job_parameters=JOB_PARAMETERS)
        line = {"attempt_nr": 1, "new_status": status, "actor": "bench", "why": "made for a measurement"}
        self._copy(tx, t.job_events, n, pandaid=number, at=self._moment(self.now), **line)

    def _enter_files(self, tx: sa.Connection, n: sa.FromClause, status: JobState) -> None:
        """Files as they are while their job is at work, or when it is finished."""
        number, task, is_over = n.c.n, n.c.n % self.n_tasks, status is JobState.FINISHED
        lfn = sa.literal("in.") + sa.cast(number, sa.String)
        url = sa.literal("file://localhost/storage/") + lfn
        described = {"lfn": lfn, "url": url, "size_bytes": 1_000_000, "checksum": "ad:12345678"}
        owned = {"jeditaskid": self.first_task + task, "pandaid": number}
        given = {**described, "fileid": number, "datasetid": self._dataset(task, 0)}
        given["status"] = InputFileState.FINISHED if is_over else InputFileState.RUNNING
        holder = {**owned, "pandaid": None} if is_over else owned
        self._copy(tx, t.files, n, attempt_nr=1, **holder, **given)
        self._copy(tx, t.job_files, n, type="input", **owned, **given)
        for place, (kind, _, _) in enumerate(DATASETS[1:], 1):
            made: dict[str, Any] = {"lfn": self._made(n, kind), "storage": "DISK"}
            made["status"] = OutputFileState.FINISHED if is_over else OutputFileState.RUNNING
            self._copy(tx, t.job_files, n, **owned, datasetid=self._dataset(task, place), type=kind, **made)

    def _enter_reports(self, tx: sa.Connection, n: sa.FromClause) -> None:
        make = sa.func.jsonb_build_object if tx.dialect.name == "postgresql" else sa.func.json_object
        told: list[Any] = []
        for kind, _, _ in DATASETS[1:]:
            lfn = self._made(n, kind)
            words = {"guid": "guid-" + lfn, "surl": "file://localhost/storage/" + lfn}
            entry = {
                **words,
                "fsize": sa.literal(21),
                "adler32": sa.literal("57060779"),
                "endpoint": sa.literal("DISK"),
            }
            told += [lfn, make(*(part for pair in entry.items() for part in (sa.literal(pair[0]), pair[1])))]
        self._copy(tx, t.job_reports, n, pandaid=n.c.n, output_report=make(*told))

    def _count_files(self, tx: sa.Connection) -> None:
        """Counters of datasets: all inputs are with jobs or finished, all outputs are to be made or made."""
        ours = t.datasets.c.jeditaskid >= self.first_task
        for table, is_master in ((t.files, True), (t.job_files, False)):
            mine = table.c.datasetid == t.datasets.c.datasetid
            n_files = sa.select(sa.func.count()).where(mine)
            counted = {"n_files": n_files, "n_files_finished": n_files.where(table.c.status == "finished")}
            if is_master:
                counted["n_files_used"] = n_files
            values = {name: count.scalar_subquery() for name, count in counted.items()}
            tx.execute(sa.update(t.datasets).where(ours, t.datasets.c.is_master.is_(is_master)).values(values))

    # The words of all that.

    def _series(self, first: int, last: int) -> sa.FromClause:
        """The numbers from `first` to `last` as a table with one column `n`."""
        if self.engine.dialect.name == "postgresql":
            numbers = sa.func.generate_series(_number(first), _number(last))
            return numbers.table_valued(sa.column("n", sa.BigInteger), name="series").render_derived()
        series = sa.select(_number(first).label("n")).cte("series", recursive=True)
        return series.union_all(sa.select(series.c.n + 1).where(series.c.n < last))

    def _mixed(self, n: sa.FromClause) -> sa.ColumnElement[int]:
        return ((n.c.n + self.seed) * _number(MULTIPLIER)) % _number(MODULUS)

    def _leaf(self, n: sa.FromClause) -> sa.ColumnElement[str]:
        return sa.literal("Leaf") + sa.cast((self._mixed(n) // self.n_queues) % N_LEAVES, sa.String)

    def _dataset(self, task: Any, number: int) -> Any:
        return (self.first_task + task) * len(DATASETS) + number

    def _made(self, n: sa.FromClause, kind: str) -> sa.ColumnElement[str]:
        return sa.literal(f"{kind}.") + sa.cast(n.c.n, sa.String)

    def _moment(self, at: datetime) -> sa.ColumnElement[Any]:
        return sa.literal(at, t.jobs.c.created_at.type)

    def _copy(self, tx: sa.Connection, table: sa.Table, n: sa.FromClause, **values: Any) -> None:
        """Enter a row for each number."""
        columns = [
            value if isinstance(value, sa.ColumnElement) else sa.literal(value, table.c[name].type)
            for name, value in values.items()
        ]
        chosen = sa.select(*columns).select_from(n)
        tx.execute(sa.insert(table).from_select(list(values), chosen))


#: The datasets of each task: type, stream, whether its files are counted.
DATASETS = (("input", "IN", True), ("output", "OUTPUT0", False), ("log", "LOG", False))
JOB_PARAMETERS = '-j "" --sourceURL http://localhost:25080 -r . -p "sh%20work.sh" -i "[\'in\']" -o "{\'out\': \'out\'}"'


def share_tree() -> Iterator[Share]:
    """Three levels of shares of uneven values, with leaves named Leaf0 to Leaf26."""
    parents: list[str | None] = [None]
    for level, per_parent in enumerate(SHARES_PER_LEVEL):
        is_last = level == len(SHARES_PER_LEVEL) - 1
        names: list[str | None] = []
        for at, (parent, place) in enumerate((parent, place) for parent in parents for place in range(per_parent)):
            name = f"Leaf{at}" if is_last else f"Level{level}_{at}"
            yield Share(name, parent, (50.0, 30.0, 20.0)[place])
            names.append(name)
        parents = names


def _number(value: int) -> sa.ColumnElement[int]:
    return sa.literal(value, sa.BigInteger)
