"""A task with inputs, outputs and jobs, made with the data functions alone, and ways to play its pilots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bamboo.core.clock import Clock
from bamboo.core.states import JobState, OutputDatasetState, TaskState
from bamboo.sql import accounting, claims, counts, datasets, files, generation, jobs, queues, tasks
from bamboo.sql import tables as t


def made_files(rows: Sequence[Any], to: JobState) -> list[accounting.MadeFile]:
    """The outputs that a job has made when it ends in a state."""
    outputs = [row for row in rows if row.type not in t.INPUT_TYPES] if to is JobState.FINISHED else []
    return [
        accounting.MadeFile.of(
            row,
            guid=f"guid-{row.lfn}",
            size_bytes=21,
            checksum="ad:57060779",
            url=f"file:///out/{row.lfn}",
            storage=row.storage,
        )
        for row in outputs
    ]


@dataclass
class World:
    """A task of one input dataset, an output and a log, on one queue. Its jobs take one input each."""

    engine: sa.Engine
    clock: Clock
    jeditaskid: int = 0
    datasetids: dict[str, int] = field(default_factory=dict)

    def start(self, n_inputs: int, max_attempt: int = 3, queue: str = "Q") -> World:
        """Enter queue, task and inputs."""
        now = self.clock()
        with self.engine.begin() as tx:
            queues.set_queue(tx, queue, {}, now=now)
            self.jeditaskid = tasks.insert_task(
                tx,
                {"taskName": "a"},
                actor="test",
                now=now,
                request_id=None,
                task_name="user.alice.a",
                user_name="alice",
                vo="wlcg",
                prod_source_label="user",
                split_rule={},
                max_attempt=max_attempt,
            )
            tasks.update_task(tx, self.jeditaskid, status=TaskState.RUNNING)
            self._enter_datasets(tx)
            rows = [
                {"lfn": f"in.{n}", "url": f"file:///in.{n}", "size_bytes": 1, "max_attempt": max_attempt}
                for n in range(n_inputs)
            ]
            files.insert_new(tx, self.jeditaskid, self.datasetids["input"], rows)
            datasets.update_dataset(tx, self.datasetids["input"], n_files=n_inputs)
        return self

    def _enter_datasets(self, tx: sa.Connection) -> None:
        common = {"jeditaskid": self.jeditaskid, "selection": {}}
        rows = [
            {"type": "input", "dataset_name": "user.alice.in", "stream_name": "IN", "is_master": True},
            {"type": "output", "dataset_name": "user.alice.a.out", "stream_name": "OUTPUT0", "is_master": False},
            {"type": "log", "dataset_name": "user.alice.a.log", "stream_name": "LOG", "is_master": False},
        ]
        datasets.insert_datasets(tx, [{**common, **row} for row in rows], now=self.clock())
        self.datasetids = {row.type: row.datasetid for row in datasets.of_task(tx, self.jeditaskid)}
        datasets.move_outputs(
            tx, self.jeditaskid, [OutputDatasetState.DEFINED], OutputDatasetState.RUNNING, now=self.clock()
        )

    def generate(self, n_jobs: int, *how: Any, **columns: Any) -> list[int]:
        """`generate_in` a transaction of its own."""
        with self.engine.begin() as tx:
            return self.generate_in(tx, n_jobs, *how, **columns)

    def generate_in(
        self,
        tx: sa.Connection,
        n_jobs: int,
        status: JobState = JobState.ACTIVATED,
        *,
        needsid: int | None = None,
        counted: bool = False,
        **columns: Any,
    ) -> list[int]:
        """Enter jobs for the next inputs that are ready and have the given needs; returns their ids.

        `counted` enters them in the counts too, as whoever makes jobs does.
        """
        ready = files.ready(tx, self.datasetids["input"], limit=n_jobs, needsid=needsid)
        serial = tasks.take_serials(tx, self.jeditaskid, len(ready))
        new = [self._job(file, serial + n, columns) for n, file in enumerate(ready)]
        made = generation.insert_jobs(
            tx, self.jeditaskid, new, status=status, actor="test", why="test", now=self.clock()
        )
        if counted:
            counts.add(tx, new, status=status, work_queue_id=None, now=self.clock())
        return [job.pandaid for job in made]

    def _job(self, file: sa.Row[Any], serial: int, columns: dict[str, Any]) -> generation.NewJob:
        base = {
            "attempt_nr": file.attempt_nr + 1,
            "serial_nr": serial,
            "queue": "Q",
            "current_priority": 1000,
            "gshare": "Undefined",
            "resource_type": "SCORE",
            "prod_source_label": "user",
            "vo": "wlcg",
            "user_name": "alice",
            "transformation": "run",
            "core_count": 1,
            "min_ram_count_mb": 0,
            "max_disk_count_mb": 0,
            "max_walltime_seconds": 0,
            "n_input_files": 1,
            "input_file_bytes": 1,
        }
        source = {
            "fileid": file.fileid,
            "datasetid": file.datasetid,
            "type": "input",
            "lfn": file.lfn,
            "url": file.url,
        }
        outputs = [
            {"datasetid": self.datasetids[kind], "type": kind, "lfn": f"{kind}.{serial}"} for kind in ("output", "log")
        ]
        return generation.NewJob({**base, **columns}, "-x", [source], outputs)

    def claim(self, n: int, queue: str = "Q") -> list[jobs.JobRef]:
        """Have pilots take jobs."""
        now = self.clock()
        with self.engine.begin() as tx:
            wanted = claims.Claim(queue=queue, limit=n, pilot_id="p", node="n")
            taken = claims.claim(tx, wanted, lease_until=now + timedelta(minutes=30), now=now)
        return [jobs.ref(row) for row in taken]

    def move(self, held: Sequence[jobs.JobRef], *states: JobState, **also: Any) -> list[jobs.JobRef]:
        """Take jobs through states."""
        now = self.clock()
        moved = list(held)
        with self.engine.begin() as tx:
            for state in states:
                moved = jobs.move_jobs(tx, moved, state, actor="test", why="test", now=now, **also)
        return moved

    def run(self, n: int) -> list[jobs.JobRef]:
        """Generate jobs, and have pilots run them."""
        self.generate(n)
        return self.move(self.claim(n), JobState.STARTING, JobState.RUNNING)

    def report(
        self,
        held: Sequence[jobs.JobRef],
        status: str = "finished",
        *,
        edit: Callable[[dict[str, Any]], None] | None = None,
        **columns: Any,
    ) -> list[int]:
        """Have pilots report the end of jobs, with their outputs unless `edit` changes the report."""
        with self.engine.begin() as tx:
            for job in held:
                report = self._output_report(tx, job.pandaid)
                if edit is not None:
                    edit(report)
                tx.execute(sa.insert(t.job_reports).values(pandaid=job.pandaid, output_report=report))
        return [job.pandaid for job in self.move(held, JobState.HOLDING, reported_status=status, **columns)]

    def _output_report(self, tx: sa.Connection, pandaid: int) -> dict[str, Any]:
        lfns = tx.scalars(
            sa.select(t.job_files.c.lfn).where(
                t.job_files.c.pandaid == pandaid, t.job_files.c.type.not_in(t.INPUT_TYPES)
            )
        )
        entry = {"fsize": 21, "adler32": "57060779", "endpoint": "DISK"}
        return {lfn: {**entry, "guid": f"guid-{lfn}", "surl": f"file:///out/{lfn}"} for lfn in lfns}

    def hold(self, n: int, status: str = "finished", **how: Any) -> list[int]:
        """Bring jobs to `holding`, with their reports."""
        return self.report(self.run(n), status, **how)

    def book(self, held: Sequence[jobs.JobRef], to: JobState = JobState.FINISHED, **how: Any) -> list[int]:
        """End jobs as the adder does, finished ones with all their outputs; returns those that this ended."""
        with self.engine.begin() as tx:
            rows = accounting.job_files_of(tx, [job.pandaid for job in held])
            endings = [
                accounting.Ending(job, to, "test", made=made_files(rows[job.pandaid], to), **how) for job in held
            ]
            booked = accounting.book(tx, endings, actor="test", now=self.clock())
        return [ending.job.pandaid for ending in booked]

    def jobs(self) -> dict[int, sa.Row[Any]]:
        with self.engine.connect() as tx:
            return {row.pandaid: row for row in tx.execute(sa.select(t.jobs).order_by(t.jobs.c.pandaid))}

    def inputs(self) -> dict[str, sa.Row[Any]]:
        with self.engine.connect() as tx:
            return {row.lfn: row for row in tx.execute(sa.select(t.files).order_by(t.files.c.fileid))}

    def catalogue(self) -> list[str]:
        """The names of the registered files, sorted."""
        with self.engine.connect() as tx:
            return sorted(tx.scalars(sa.select(t.catalogue_files.c.lfn)))

    def task_status(self) -> str:
        with self.engine.connect() as tx:
            return str(tasks.get_task(tx, self.jeditaskid).status)

    def miscounted(self) -> dict[int, Any]:
        """Counters that are wrong."""
        with self.engine.connect() as tx:
            return dict(datasets.recount(tx, self.jeditaskid))
