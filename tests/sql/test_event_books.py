"""The books of event ranges: whatever pilots, deaths and merges do, each event is in one merged output at the most."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bamboo.core.clock import ManualClock
from bamboo.core.event_service import After, RangesAtEnd, end_of_job, spans
from bamboo.core.states import EVENTS, EventState, JobState
from bamboo.sql import accounting, datasets, event_ranges, files, generation, jobs, merging
from bamboo.sql import tables as t
from bamboo.sql.accounting import Ending
from bamboo.sql.engine import open_engine
from bamboo.sql.event_ranges import NewRanges, RangeId, Told
from bamboo.sql.retries import Retry
from bamboo.tests.helpers.world import World

N_EVENTS, MAX_ATTEMPT = 9, 2
GOING = (JobState.ACTIVATED, JobState.SENT, JobState.RUNNING, JobState.MERGING)


@given(st.integers(1, 5000), st.integers(1, 700))
def test_every_event_is_in_one_range(n_events: int, per_range: int) -> None:
    cut = spans(n_events, per_range)
    assert [event for first, last in cut for event in range(first, last + 1)] == list(range(1, n_events + 1))
    assert max(last - first + 1 for first, last in cut) <= per_range
    assert len(cut) == -(-n_events // per_range)


@pytest.mark.parametrize(
    ("ranges", "may_try_again", "file_has_attempts", "after"),
    [
        (RangesAtEnd(done=3), True, True, After.MERGE),
        (RangesAtEnd(done=3, given_up=1), True, True, After.MERGE),
        (RangesAtEnd(done=1, by_this_job=1, open=2), True, False, After.AGAIN),
        (RangesAtEnd(done=1, open=2), True, True, After.CHARGED),
        (RangesAtEnd(done=1, open=2), True, False, After.MERGE),
        (RangesAtEnd(done=1, by_this_job=1, open=2), False, True, After.MERGE),
        (RangesAtEnd(open=3), True, False, After.OVER),
        (RangesAtEnd(open=3), True, True, After.CHARGED),
        (RangesAtEnd(given_up=2, merged=1), True, True, After.OVER),
    ],
)
def test_the_table_of_ends(ranges: RangesAtEnd, may_try_again: bool, file_has_attempts: bool, after: After) -> None:
    """As docs/events.md has it."""
    assert end_of_job(ranges, may_try_again=may_try_again, file_has_attempts=file_has_attempts) is after


def test_a_stop_from_outside_costs_neither_file_nor_ranges(engine: sa.Engine, clock: ManualClock) -> None:
    """Up to the number of free attempts; then the file is given up as after any other failure."""
    world = World(engine, clock).start(1, max_attempt=1)
    retry = Retry(jeditaskid=world.jeditaskid, why="stopped", free_attempts=2)
    told = []
    for attempt in range(3):
        world.generate(1, is_event_service=True)
        (held,) = world.move(world.claim(1), JobState.RUNNING)
        file = world.inputs()["in.0"]
        with engine.begin() as tx:
            fresh = NewRanges(held.pandaid, file.jeditaskid, file.datasetid, file.fileid, 1, spans(9, 9))
            event_ranges.give(tx, [fresh])
            assert len(event_ranges.hand_out(tx, held.pandaid, limit=1, in_hand=None)) == 1, attempt
        world.book([held], JobState.FAILED, charged=True, retry=retry)
        file = world.inputs()["in.0"]
        with engine.connect() as tx:
            (status,) = tx.scalars(sa.select(t.events.c.status))
        told.append((file.status, file.free_attempts, file.failed_attempts, status))
    assert told == [("ready", 1, 0, "cancelled"), ("ready", 2, 0, "cancelled"), ("failed", 2, 1, "fatal")]
    assert world.miscounted() == {}


class Books(RuleBasedStateMachine):
    """One file; jobs come and go; anybody may say anything about any range that was ever handed out."""

    template: sa.Engine

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        path = Path(self.folder.name, "bamboo.db")
        source = self.template.raw_connection()
        self.engine = open_engine(f"sqlite:///{path}")
        target = self.engine.raw_connection()
        source.driver_connection.backup(target.driver_connection)  # type: ignore[union-attr]
        source.close()
        target.close()
        self.world = World(self.engine, ManualClock(datetime(2026, 1, 1, tzinfo=UTC))).start(1, MAX_ATTEMPT)
        with self.engine.begin() as tx:
            row = {"type": "tmpl_output", "dataset_name": "um", "stream_name": "OUTPUT0", "selection": {}}
            datasets.insert_datasets(tx, [{**row, "jeditaskid": self.world.jeditaskid}], now=self.world.clock())
            planned = {row.type: row.datasetid for row in datasets.of_task(tx, self.world.jeditaskid)}
        self.intermediate = planned["tmpl_output"]
        self.said: list[RangeId] = []  # every name that was ever handed out
        self.accepted: set[RangeId] = set()  # hand-outs that were finished, and counted
        self.state: str | None = None  # of the run job, after each step; None when there is none
        self.in_outputs: Counter[tuple[int, int]] = Counter()  # spans, by how many merged outputs they are in

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @initialize(per_range=st.integers(2, 9))
    def choose(self, per_range: int) -> None:
        self.per_range = per_range

    def job(self) -> Any:
        """The run job that there is, if it is not over."""
        rows = [row for row in self.world.jobs().values() if row.kind == "run" and row.status in GOING]
        assert len(rows) <= 1, "a file belongs to one job"
        return rows[0] if rows else None

    def ranges(self) -> list[Any]:
        with self.engine.connect() as tx:
            return list(tx.execute(sa.select(t.events).order_by(t.events.c.first_event)))

    @precondition(lambda self: self.state is None)
    @rule()
    def generate(self) -> None:
        with self.engine.begin() as tx:
            ready = files.ready(tx, self.world.datasetids["input"], limit=1)
            if not ready:
                return
            (file,) = ready
            plain = self.world._job(file, 1, {"is_event_service": True, "to_be_merged": True})
            log = [row for row in plain.outputs if row["type"] == "log"]
            planned = {"datasetid": self.intermediate, "type": "tmpl_output", "lfn": "um.x"}
            new = generation.NewJob(plain.columns, "-x", plain.inputs, [planned, *log])
            (made,) = generation.insert_jobs(
                tx, file.jeditaskid, [new], status=JobState.ACTIVATED, actor="a", why="w", now=self.world.clock()
            )
            cut = spans(N_EVENTS, self.per_range)
            fresh = NewRanges(made.pandaid, file.jeditaskid, file.datasetid, file.fileid, MAX_ATTEMPT, cut)
            event_ranges.give(tx, [fresh])
        self.world.move(self.world.claim(1), JobState.RUNNING)

    @precondition(lambda self: self.state == JobState.RUNNING)
    @rule(limit=st.integers(1, 4), forgets=st.booleans(), data=st.data())
    def ask(self, limit: int, forgets: bool, data: st.DataObject) -> None:
        held = None
        if forgets:  # some answers were lost
            sent = [str(RangeId.of(row)) for row in self.ranges() if row.status == EventState.SENT]
            held = data.draw(st.lists(st.sampled_from(sent), unique=True)) if sent else []
        pandaid = self.job().pandaid
        with self.engine.begin() as tx:
            got = [RangeId.of(row) for row in event_ranges.hand_out(tx, pandaid, limit=limit, in_hand=held)]
        assert len(got) <= limit
        assert not set(got) & set(self.said), "a hand-out has a name of its own"
        self.said += got

    @precondition(lambda self: self.state == JobState.RUNNING)
    @rule(limit=st.integers(1, 9))
    def work(self, limit: int) -> None:
        """A pilot that does what it should."""
        pandaid = self.job().pandaid
        with self.engine.begin() as tx:
            for row in event_ranges.hand_out(tx, pandaid, limit=limit, in_hand=[str(name) for name in self.said]):
                name = RangeId.of(row)
                self.said.append(name)
                assert self.tell(tx, name, EventState.FINISHED)
                assert self.tell(tx, name, EventState.FINISHED), "a repetition is no harm"
                self.accepted.add(name)

    def tell(self, tx: sa.Connection, name: RangeId, status: EventState) -> bool:
        lfn = f"um.x.{name}"
        made = {"lfn": lfn, "guid": "g", "size_bytes": 1, "checksum": "ad:00000001", "url": f"file:///{lfn}"}
        return event_ranges.tell(tx, Told(name, status, {str(self.intermediate): made}))

    @precondition(lambda self: self.said)
    @rule(status=st.sampled_from(event_ranges.TOLD), data=st.data())
    def say(self, status: EventState, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.said))
        before = {RangeId.of(row): EventState(row.status) for row in self.ranges()}
        job = self.job()
        with self.engine.begin() as tx:
            counts = event_ranges.hold_job(tx, name.pandaid) is not None and self.tell(tx, name, status)
        now = before.get(name)
        moves = now is not None and now in (EventState.SENT, EventState.RUNNING) and EVENTS.allows(now, status)
        is_mine = job is not None and job.pandaid == name.pandaid and job.status == JobState.RUNNING
        assert counts == (is_mine and (moves or now is status))
        if counts and status is EventState.FINISHED:
            self.accepted.add(name)

    @precondition(lambda self: self.state == JobState.RUNNING)
    @rule(to=st.sampled_from([JobState.MERGING, JobState.FAILED, JobState.CANCELLED]), may_try_again=st.booleans())
    def end(self, to: JobState, may_try_again: bool) -> None:
        """The pilot says that it is finished, or dies, or the job is killed."""
        row = self.job()
        give_back = {file.fileid: may_try_again for file in self.world.inputs().values()}
        if to is JobState.MERGING:
            self.world.move([jobs.ref(row)], JobState.HOLDING)
            row = self.world.jobs()[row.pandaid]
        ending = Ending(jobs.ref(row), to, "test", give_back=give_back, charged=True)
        kept = {RangeId.of(one) for one in self.ranges() if one.status == EventState.FINISHED}
        with self.engine.begin() as tx:
            (booked,) = accounting.book(tx, [ending], actor="test", now=self.world.clock())
            assert accounting.book(tx, [ending], actor="test", now=self.world.clock()) == [], "booked once"
        assert (booked.to is JobState.CANCELLED) == (to is JobState.CANCELLED)
        assert kept <= {RangeId.of(one) for one in self.ranges() if one.status == EventState.DONE}

    @precondition(lambda self: self.state == JobState.MERGING)
    @rule(to=st.sampled_from([JobState.FINISHED, JobState.FAILED]))
    def merge(self, to: JobState) -> None:
        task, clock = self.world.jeditaskid, self.world.clock
        row = self.job()
        columns = {name: row._mapping[name] for name in ("queue", *_COPIED)}
        with self.engine.begin() as tx:
            (run_job,) = merging.waiting(tx, task, str(row.queue), limit=5)
            new = generation.NewJob({**columns, "attempt_nr": 1, "serial_nr": 9, "kind": "merge"}, "-m")
            (made,) = generation.insert_jobs(
                tx, task, [new], status=JobState.ACTIVATED, actor="a", why="w", now=clock()
            )
            merging.assign(tx, [run_job.job.pandaid], made.pandaid, now=clock())
        inputs = [file for file in run_job.files if file["type"] == "tmpl_output"]
        done = {f"um.x.{RangeId.of(row)}": row for row in self.ranges() if row.status == EventState.DONE}
        assert sorted(file["lfn"] for file in inputs) == sorted(done), "all that is done, and each once"
        assert {RangeId.of(row) for row in done.values()} <= self.accepted
        (held,) = self.world.move(self.world.claim(1), JobState.RUNNING, JobState.HOLDING)
        with self.engine.begin() as tx:
            accounting.book(tx, [Ending(held, to, "test")], actor="test", now=clock())
        if to is JobState.FINISHED:
            self.in_outputs.update((row.first_event, row.last_event) for row in done.values())

    @precondition(lambda self: self.state is None)
    @rule()
    def retry(self) -> None:
        with self.engine.begin() as tx:
            reset = files.reset_failed(tx, self.world.jeditaskid)
            datasets.add_counts(
                tx,
                {one: {"n_files_used": -n, "n_files_failed": -n} for one, n in reset.items()},
                now=self.world.clock(),
            )

    @invariant()
    def books_are_right(self) -> None:
        job = self.job()
        self.state = job.status if job is not None else None
        rows = self.ranges()
        if rows:
            cut = [(row.first_event, row.last_event) for row in rows]
            assert cut == spans(N_EVENTS, self.per_range)
        merged = {(row.first_event, row.last_event) for row in rows if row.status == EventState.MERGED}
        assert self.in_outputs == Counter(merged), "an event is in one output at the most, and the books say in which"
        assert self.world.miscounted() == {}
        (file,) = self.world.inputs().values()
        whole = bool(rows) and len(merged) == len(rows)
        assert (file.status == "finished") == whole
        assert (file.status == "partial") <= (0 < len(merged) < len(rows))
        if job is None:
            at_work = {EventState.SENT, EventState.RUNNING, EventState.FINISHED}
            assert not at_work & {EventState(row.status) for row in rows}


_COPIED = (
    *("current_priority", "gshare", "resource_type", "prod_source_label", "vo", "user_name", "transformation"),
    *("core_count", "min_ram_count_mb", "max_disk_count_mb", "max_walltime_seconds", "n_input_files"),
    "input_file_bytes",
)


def test_the_books_hold_whatever_happens(sqlite_template: Path) -> None:
    Books.template = open_engine(f"sqlite:///{sqlite_template}")
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Books, settings=settings(max_examples=40, stateful_step_count=20, deadline=None, phases=[Phase.generate])
        )
    finally:
        Books.template.dispose()
