"""Booking the end of jobs: every input counts once, whatever the order of what happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.errors import IllegalTransition
from bamboo.core.states import JobState
from bamboo.sql import accounting, datasets, job_queries, jobs
from bamboo.sql import tables as t
from bamboo.sql.engine import open_engine


def held(world: World, n: int) -> list[jobs.JobRef]:
    """Jobs that have left the machine."""
    return world.move(world.run(n), JobState.HOLDING)


def counters(world: World) -> dict[str, tuple[int, ...]]:
    """By dataset: n_files, and how many are used, finished and failed."""
    with world.engine.connect() as tx:
        return {
            row.type: (row.n_files, row.n_files_used, row.n_files_finished, row.n_files_failed)
            for row in datasets.of_task(tx, world.jeditaskid)
        }


def test_a_finished_job_uses_up_its_inputs_and_makes_its_outputs(world: World) -> None:
    done, going = world.start(3).run(2)
    world.book(world.move([done], JobState.HOLDING))
    assert [(file.status, file.pandaid) for file in world.inputs().values()] == [
        ("finished", None),
        ("running", going.pandaid),
        ("ready", None),
    ]
    assert counters(world) == {"input": (3, 2, 1, 0), "output": (2, 0, 1, 0), "log": (2, 0, 1, 0)}
    with world.engine.connect() as tx:
        rows = job_queries.files_of(tx, done.pandaid)
        (output,) = [row for row in datasets.of_task(tx, world.jeditaskid) if row.type == "output"]
    assert {row.status for row in rows} == {"finished"}
    assert (rows[1].guid, rows[1].size_bytes, rows[1].checksum) == (f"guid-{rows[1].lfn}", 21, "ad:57060779")
    assert output.size_bytes == 21
    assert world.miscounted() == {}


def test_a_failed_job_gives_its_inputs_back_or_up(world: World) -> None:
    first, second = held(world.start(2), 2)
    ids = {lfn: file.fileid for lfn, file in world.inputs().items()}
    world.book([first], JobState.FAILED, charged=True)
    world.book([second], JobState.FAILED, give_back={ids["in.1"]: False}, charged=True)
    assert [(file.status, file.pandaid, file.failed_attempts) for file in world.inputs().values()] == [
        ("ready", None, 1),
        ("failed", None, 1),
    ]
    assert counters(world) == {"input": (2, 1, 0, 1), "output": (2, 0, 0, 2), "log": (2, 0, 0, 2)}
    assert world.miscounted() == {}


def test_a_job_that_the_system_ended_charges_nobody(world: World) -> None:
    (job,) = held(world.start(1), 1)
    world.book([job], JobState.CLOSED)
    assert world.inputs()["in.0"].failed_attempts == 0


def test_the_log_of_a_failed_job_is_kept(world: World) -> None:
    (job,) = held(world.start(1), 1)
    with world.engine.begin() as tx:
        rows = accounting.job_files_of(tx, [job.pandaid])[job.pandaid]
        log = next(row for row in rows if row.type == "log")
        made = accounting.MadeFile(
            log.row_id, "log", job.pandaid, log.datasetid, "d", log.lfn, None, "g", 9, "ad:00000001", "file:///l", None
        )
        ending = accounting.Ending(job, JobState.FAILED, "w", made=[made], errors={"pilot_error_code": 1305})
        accounting.book(tx, [ending], actor="test", now=world.clock())
    assert counters(world) == {"input": (1, 0, 0, 0), "output": (1, 0, 0, 1), "log": (1, 0, 1, 0)}
    assert world.jobs()[job.pandaid].pilot_error_code == 1305
    assert world.miscounted() == {}


def test_a_second_booking_books_nothing(world: World) -> None:
    done, failed = held(world.start(2), 2)
    world.book([done])
    world.book([failed], JobState.FAILED, charged=True)
    before = counters(world), world.inputs()
    assert world.book([done, failed]) == []
    assert world.book([done, failed], JobState.FAILED, charged=True) == []
    assert (counters(world), world.inputs()) == before


def test_of_many_at_once_one_books(world: World, at_once: Callable[..., Any]) -> None:
    some = held(world.start(5), 5)
    booked = [pandaid for mine in at_once(4, lambda n: world.book(some)) for pandaid in mine]
    assert sorted(booked) == sorted(job.pandaid for job in some)
    assert counters(world)["input"] == (5, 5, 5, 0)
    assert world.miscounted() == {}


def test_counters_of_several_datasets_grow_and_shrink_each_by_its_own(world: World) -> None:
    world.start(4)
    ids, before = world.datasetids, counters(world)
    changes = {
        ids["log"]: {"n_files": 2, "size_bytes": 7},
        ids["input"]: {"n_files_used": 3, "n_files_failed": -1},
        ids["output"]: {"n_files": 0},
    }
    with world.engine.begin() as tx:
        touched = {row.datasetid: row.modified_at for row in datasets.of_task(tx, world.jeditaskid)}
        datasets.add_counts(tx, changes, now=world.clock() + timedelta(minutes=1))
        datasets.add_counts(tx, {}, now=world.clock())
    assert before == {"input": (4, 0, 0, 0), "output": (0, 0, 0, 0), "log": (0, 0, 0, 0)}
    assert counters(world) == {"input": (4, 3, 0, -1), "output": (0, 0, 0, 0), "log": (2, 0, 0, 0)}
    with world.engine.connect() as tx:
        after = {row.datasetid: row for row in datasets.of_task(tx, world.jeditaskid)}
    assert after[ids["log"]].size_bytes == 7
    later = {datasetid for datasetid, row in after.items() if row.modified_at > touched[datasetid]}
    assert later == {ids["log"], ids["input"]}  # what did not change was not touched


def test_an_end_that_cannot_be_is_a_bug(world: World) -> None:
    running = world.start(1).run(1)
    with pytest.raises(IllegalTransition):
        world.book(running, JobState.FINISHED)
    assert world.inputs()["in.0"].status == "running"


def test_the_database_itself_refuses_to_count_an_input_twice(world: World) -> None:
    (done,) = held(world.start(1), 1)
    world.book([done])
    with world.engine.begin() as tx:
        (row,) = tx.execute(sa.select(t.job_files).where(t.job_files.c.type == "input"))
    again = {**row._mapping, "pandaid": 99}
    del again["row_id"]
    with pytest.raises(sa.exc.IntegrityError), world.engine.begin() as tx:
        tx.execute(sa.insert(t.job_files).values(again))


def test_reports_are_found_by_job(world: World) -> None:
    (pandaid,) = world.start(1).hold(1)
    with world.engine.connect() as tx:
        found = accounting.reports_of(tx, [pandaid, 99])
    assert set(found) == {pandaid}
    assert set(found[pandaid]) == {"output.1", "log.1"}


class Endings(RuleBasedStateMachine):
    """Jobs begin, end and end again in any order; the books agree with the rows after every step."""

    template: Path
    folder: Path

    @initialize(n_inputs=st.integers(1, 6), max_attempt=st.integers(1, 3))
    def start(self, n_inputs: int, max_attempt: int) -> None:
        path = copy(self.template, self.folder / "books.db")
        self.engine = open_engine(f"sqlite:///{path}")
        self.world = World(self.engine, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
        self.world.start(n_inputs, max_attempt)
        self.seen: list[jobs.JobRef] = []

    @rule(n=st.integers(1, 4))
    def run(self, n: int) -> None:
        self.seen += held(self.world, n)

    @rule(
        n=st.integers(1, 5),
        to=st.sampled_from([JobState.FINISHED, JobState.FAILED, JobState.CLOSED, JobState.CANCELLED]),
        charged=st.booleans(),
        give_back=st.booleans(),
    )
    def end(self, n: int, to: JobState, charged: bool, give_back: bool) -> None:
        """The last few jobs end, some of which have ended before."""
        ids = [file.fileid for file in self.world.inputs().values()]
        self.world.book(self.seen[-n:], to, charged=charged, give_back=dict.fromkeys(ids, give_back))

    @invariant()
    def the_counters_are_right(self) -> None:
        assert self.world.miscounted() == {}

    @invariant()
    def an_input_is_finished_by_one_job(self) -> None:
        finished = sa.select(t.job_files.c.fileid).where(t.job_files.c.type == "input")
        with self.engine.connect() as tx:
            by_jobs = Counter(tx.scalars(finished.where(t.job_files.c.status == "finished")))
        assert by_jobs == Counter(f.fileid for f in self.world.inputs().values() if f.status == "finished")

    @invariant()
    def what_is_in_work_has_an_owner_that_is_not_over(self) -> None:
        going = {pandaid for pandaid, row in self.world.jobs().items() if row.status == "holding"}
        assert {file.pandaid for file in self.world.inputs().values() if file.status == "running"} == going

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()


def test_any_sequence_of_endings_keeps_the_books(sqlite_template: Path, tmp_path: Path) -> None:
    class Here(Endings):
        template = sqlite_template
        folder = tmp_path

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Here, settings=settings(max_examples=30, stateful_step_count=15, deadline=None, suppress_health_check=checks)
    )
