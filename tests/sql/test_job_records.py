"""Flight records in the database: they come with heartbeats and steps, and cost nothing where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from world import World

from bamboo.core.flight_records import KEPT_BYTES, MOST_SAMPLES
from bamboo.core.states import JobState
from bamboo.sql import heartbeats, job_records, jobs, steps
from bamboo.sql.heartbeats import Heartbeat
from bamboo.sql.job_records import Piece, Told


@pytest.fixture
def running(world: World) -> list[int]:
    world.start(3).run(3)
    return sorted(world.jobs())


def sample(at: float, rss_kb: float = 1) -> list[float]:
    return [at, rss_kb, 0, 0, 0, 0]


def beat(world: World, pandaid: int, *records: Told, attempt_nr: int = 1) -> Heartbeat:
    now = world.clock()
    return Heartbeat(pandaid, attempt_nr, now + timedelta(minutes=30), now, {"max_rss_kb": 1}, {}, records)


def write(world: World, *beats: Heartbeat) -> int:
    with world.engine.begin() as tx:
        return heartbeats.write(tx, beats)


def record(world: World, pandaid: int) -> Any:
    with world.engine.connect() as tx:
        return job_records.of_job(tx, pandaid)


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that are sent to the database."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_heartbeats_of_several_jobs_add_to_their_records(world: World, running: Sequence[int]) -> None:
    one, other, plain = running
    first = Told([sample(1), sample(2)], {"stdout": Piece(0, "a\n")}, {"tree": [[5, 1, "sh", 9, "S"]], "oom_kills": 0})
    assert write(world, beat(world, one, first), beat(world, other, Told([sample(7)])), beat(world, plain)) == 3
    again = Told([sample(2), sample(3)], {"stdout": Piece(0, "a\nb\n"), "stderr": Piece(0, "é")}, {"oom_kills": 1})
    write(world, beat(world, one, again, Told([sample(4)])))
    kept = record(world, one)
    assert [row[0] for row in kept.samples] == [1, 2, 3, 4]
    assert (kept.stdout, kept.stdout_end, kept.stderr, kept.stderr_end) == ("a\nb\n", 4, "é", 2)
    assert (kept.tree, kept.oom_kills) == ([[5, 1, "sh", 9, "S"]], 1)
    assert record(world, other).samples == [sample(7)]
    assert record(world, plain) is None


def test_the_record_is_bounded_and_keeps_peak_and_last_words(world: World, running: Sequence[int]) -> None:
    for at in range(0, 2000, 50):
        samples = [sample(at + more, 9999 if at + more == 77 else 1) for more in range(50)]
        write(world, beat(world, running[0], Told(samples, {"stdout": Piece(at * 100, "x" * 5000)})))
    kept = record(world, running[0])
    assert len(kept.samples) <= MOST_SAMPLES
    assert max(row[1] for row in kept.samples) == 9999
    assert kept.samples[-1][0] == 1999
    assert (len(kept.stdout), kept.stdout_end) == (KEPT_BYTES, 200_000)


def test_a_heartbeat_without_a_record_asks_the_database_nothing_more(world: World, running: Sequence[int]) -> None:
    with statements(world.engine) as plain:
        write(world, *(beat(world, pandaid) for pandaid in running))
    assert not any("job_records" in statement for statement in plain)
    with statements(world.engine) as recorded:
        write(world, *(beat(world, pandaid, Told([sample(1)])) for pandaid in running))
    assert len(recorded) == len(plain) + 2  # one to read all records, one to write them


def test_a_heartbeat_of_another_attempt_adds_nothing(world: World, running: Sequence[int]) -> None:
    assert write(world, beat(world, running[0], Told([sample(1)]), attempt_nr=2)) == 0
    assert record(world, running[0]) is None


def test_steps_bring_the_last_words_along(world: World, running: Sequence[int]) -> None:
    """Those of jobs that somebody else moved first bring nothing."""
    with world.engine.begin() as tx:
        held = jobs.refs(tx)
        stale = held[2]._replace(attempt_nr=9)
        taken = steps.take_all(tx, [step(world, one) for one in (*held[:2], stale)])
    assert taken == {held[0].pandaid, held[1].pandaid}
    assert record(world, held[0].pandaid).stdout == "last words"
    assert record(world, held[2].pandaid) is None


def step(world: World, held: jobs.JobRef) -> steps.Step:
    told = Told([sample(1)], {"stdout": Piece(0, "last words")})
    values = {"reported_status": "failed", "ended_at": world.clock()}
    return steps.Step(held, JobState.HOLDING, "pilot", "test", world.clock(), None, values, {}, told)


def test_the_pilots_of_jobs_are_told_to_report_often(world: World, running: Sequence[int]) -> None:
    """Only in place of the orders that are named: one that ends a job stays."""
    with world.engine.begin() as tx:
        jobs.order(tx, jobs.refs(tx)[:1], "tobekilled", now=world.clock())
        assert jobs.replace_order(tx, running, [None, "debugoff now"], "debug") == 2
        assert jobs.replace_order(tx, running[:2], ["debug"], "debugoff now") == 1
    with world.engine.connect() as tx:
        progress = job_records.progress_of(tx, running)
    assert [progress[pandaid].order for pandaid in running] == ["tobekilled", "debugoff now", "debug"]
