"""Job Generator: the right number of jobs at the right queues, in whole pages, or the reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.states import JobState, TaskState
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.jedi.spreading import portions
from bamboo.jedi.task_agent import Round
from bamboo.plugins.contracts import InputFile, QueueView, TaskView, from_row
from bamboo.plugins.generic.splitter import GenericSplitter
from bamboo.plugins.hookspecs import hookimpl
from bamboo.plugins.retried import raised
from bamboo.sql import catalogue, datasets, queue_verdicts, retries, settings, task_queries, tasks
from bamboo.sql import tables as t
from bamboo.sql.retries import Needs
from bamboo.tests.jedi.rounds import OUTPUT, Jedi, on_both_databases, reads


def ready(jedi: Jedi, n_files: int, **parameters: Any) -> Jedi:
    """A task of so many inputs, up to the Job Generator."""
    jedi.store("user.alice.in", *(f"f{n:03d}" for n in range(n_files)))
    jedi.submit(**{"nFilesPerJob": 1, **parameters})
    jedi.run(TaskRefiner, ContentsFeeder)
    return jedi


def at_queues(jedi: Jedi) -> Counter[str]:
    return Counter(job.queue for job in jedi.jobs().values())


def verdicts(jedi: Jedi, queue: str) -> list[dict[str, Any]]:
    """What was said of a queue, of what processes have entered by now."""
    with jedi.engine.connect() as tx:
        return queue_verdicts.of_queues(tx, [queue], since=jedi.clock())


@on_both_databases
def test_all_inputs_get_jobs(jedi: Jedi) -> None:
    jedi.queue()
    ready(jedi, 5, nFilesPerJob=2)
    assert jedi.run(JobGenerator) == [Round(done=1)]
    task = jedi.task()
    assert (task.status, task.started_at, task.error_dialog) == ("running", jedi.clock(), None)
    assert [job.n_input_files for job in jedi.jobs().values()] == [2, 2, 1]
    assert {job.status for job in jedi.jobs().values()} == {"activated"}
    assert (jedi.dataset().n_files_used, jedi.dataset("output").status) == (5, "ready")
    assert jedi.miscounted() == {}
    (decision,) = jedi.decided()
    assert (decision.what, decision.queue, decision.why["chosen"]) == ("jobs for Q", "Q", ["Q"])
    assert jedi.run(JobGenerator) == [Round()]
    with jedi.engine.connect() as tx:
        assert set(tx.scalars(sa.select(t.catalogue_datasets.c.name))) == {"user.alice.in", "user.alice.a_out.txt"}


@on_both_databases
def test_without_a_queue_it_waits_with_its_reasons(jedi: Jedi, clock: ManualClock) -> None:
    ready(jedi, 1, ramCount=2000)
    assert jedi.run(JobGenerator) == [Round(done=1)]
    assert (jedi.task().status, jedi.task().old_status) == ("pending", "ready")
    assert jedi.task().error_dialog == "no queue fits: there are no queues: `bamboo queue set` enters one"
    jedi.queue("SMALL", maxrss=100)
    jedi.queue("SHUT", status="offline")
    clock.advance(minutes=1)
    jedi.run(JobGenerator)
    (decision,) = jedi.decided()
    assert (decision.what, decision.repeated) == ("no queue fits", 1)
    assert decision.why["rejected"] == {
        "not online": {"count": 1, "example": "SHUT", "change": "set its status from offline to online"},
        "too little memory": {"count": 1, "example": "SMALL", "change": "raise its maxrss from 100 to 2000 MB"},
    }
    assert jedi.run(JobGenerator) == [Round()]  # left alone for a while
    jedi.queue("BIG", maxrss=4000)
    clock.advance(minutes=1)
    jedi.run(JobGenerator)
    task = jedi.task()
    assert (task.status, task.error_dialog, task.started_at) == ("running", None, clock())
    assert at_queues(jedi) == {"BIG": 1}
    said = {queue: [(one["gate"], one["n"]) for one in verdicts(jedi, queue)] for queue in ("SMALL", "SHUT", "BIG")}
    assert said == {"SMALL": [("too little memory", 2)], "SHUT": [("not online", 2)], "BIG": [("", 1)]}
    assert jedi.story() == ["registered", "defined", "ready", "pending", "running"]


def test_the_reasons_of_a_task_that_waits_stay_up_to_date(jedi: Jedi, clock: ManualClock) -> None:
    ready(jedi, 1)
    jedi.run(JobGenerator)
    jedi.queue(status="offline")
    clock.advance(minutes=1)
    jedi.run(JobGenerator)
    assert jedi.task().error_dialog == (
        "no queue fits: not online (1 queues, such as Q; to pass: set its status from offline to online)"
    )


@on_both_databases
def test_a_full_house_throttles_and_goes_on_when_there_is_room(
    make_jedi: Callable[..., Jedi], clock: ManualClock
) -> None:
    jedi = make_jedi(jobgen={"max_queued_jobs_per_queue": 2})
    jedi.queue()
    ready(jedi, 5)
    jedi.run(JobGenerator)
    assert (jedi.task().status, len(jedi.jobs())) == ("running", 2)
    jedi.count_jobs()
    jedi.run(JobGenerator)
    assert (jedi.task().status, jedi.task().old_status, len(jedi.jobs())) == ("throttled", "running", 2)
    assert jedi.decided()[0].why == {"throttle": "2 jobs are queued in 1 online queues of 2 each"}
    jedi.claim(1)
    jedi.count_jobs()
    assert jedi.run(JobGenerator) == [Round()]
    clock.advance(minutes=2)
    jedi.run(JobGenerator)
    assert (jedi.task().status, len(jedi.jobs())) == ("running", 3)


def test_the_limit_in_the_database_holds_without_a_restart(make_jedi: Callable[..., Jedi], clock: ManualClock) -> None:
    jedi = make_jedi(jobgen={"max_queued_jobs_per_queue": 1})
    jedi.queue()
    ready(jedi, 5)
    for limit, n_jobs in ((None, 1), ("3", 3), ("4", 4), (None, 4)):
        with jedi.engine.begin() as tx:
            name = ("jobthrottle", "MAX_QUEUED_JOBS_PER_QUEUE", "jedi")
            if limit is None:
                settings.unset_value(tx, *name, now=clock())
            else:
                settings.set_value(tx, *name, limit, kind="int", now=clock())
        clock.advance(minutes=2)
        jedi.run(JobGenerator)
        jedi.count_jobs()
        assert len(jedi.jobs()) == n_jobs


def test_a_task_that_was_throttled_first_has_its_start_noted(
    make_jedi: Callable[..., Jedi], clock: ManualClock
) -> None:
    jedi = make_jedi(jobgen={"max_queued_jobs_per_queue": 1})
    jedi.queue()
    ready(jedi, 1)
    jedi.run(JobGenerator)
    jedi.count_jobs()
    ready(jedi, 1)
    jedi.run(JobGenerator)
    assert (jedi.task().status, jedi.task().started_at) == ("throttled", None)
    jedi.claim(1)
    jedi.count_jobs()
    clock.advance(minutes=2)
    jedi.run(JobGenerator)
    assert (jedi.task().status, jedi.task().started_at) == ("running", clock())


@on_both_databases
def test_a_queue_that_changes_wakes_the_tasks_that_no_queue_took(jedi: Jedi) -> None:
    jedi.queue(status="offline")
    ready(jedi, 1)
    jedi.run(JobGenerator)
    assert (jedi.task().status, jedi.run(JobGenerator)) == ("pending", [Round()])
    jedi.queue(status="online")
    assert jedi.run(JobGenerator) == [Round(done=1)]
    assert jedi.task().status == "running"


def test_a_retry_wakes_a_task_that_is_left_alone(jedi: Jedi) -> None:
    ready(jedi, 1)
    jedi.run(JobGenerator)
    until = jedi.task().next_round_at
    assert jedi.command("retry").answer.startswith("it is not left alone any longer")
    assert jedi.run(JobGenerator) == [Round(done=1)]
    assert jedi.task().next_round_at == until  # it was looked at, and there still is no queue


def test_queues_share_the_jobs(make_jedi: Callable[..., Jedi]) -> None:
    jedi = make_jedi(jobgen={"jobs_per_transaction": 2})
    for name in "ABC":
        jedi.queue(name)
    ready(jedi, 12)
    jedi.run(JobGenerator)
    assert at_queues(jedi) == {"A": 4, "B": 4, "C": 4}


@on_both_databases
def test_one_page_is_spread_over_idle_queues(jedi: Jedi) -> None:
    """All jobs of one page went to the queue whose name came first."""
    for name in "ABCDE":
        jedi.queue(name)
    ready(jedi, 250, skipScout=True)
    jedi.run(JobGenerator)
    assert at_queues(jedi) == dict.fromkeys("ABCDE", 50)
    assert jedi.miscounted() == {}


def test_the_next_task_goes_where_the_one_before_did_not(jedi: Jedi) -> None:
    """What was made since the jobs were counted is reckoned in; a few jobs are not spread."""
    for name in "AB":
        jedi.queue(name)
    jedi.count_jobs()
    for _ in range(4):
        ready(jedi, 10, skipScout=True)
        jedi.run(JobGenerator)
    assert at_queues(jedi) == {"A": 20, "B": 20}
    assert [job.queue for job in jedi.jobs().values()] == ["A"] * 10 + ["B"] * 10 + ["A"] * 10 + ["B"] * 10


def test_jobs_cut_by_size_are_as_large_where_queues_share_them(jedi: Jedi) -> None:
    for name in "ABCDE":
        jedi.queue(name)
    jedi.store("user.alice.in", *(f"f{n:03d}" for n in range(400)))
    jedi.submit(skipScout=True)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert [job.n_input_files for job in jedi.jobs().values()] == [200, 200]


@pytest.mark.parametrize(
    ("n_jobs", "weights", "expected"),
    [
        (100, {"A": 1, "B": 1, "C": 2}, {"A": 25, "B": 25, "C": 50}),
        (101, {"A": 1, "B": 1}, {"A": 51, "B": 50}),
        (39, {"A": 1, "B": 1}, {"A": 39}),  # less than 20 for each
        (100, {"A": 1, "B": 0.001}, {"A": 100}),
        (9000, {"A": 1, "B": 1, "C": 0.5}, {"A": 500, "B": 500, "C": 250}),  # the rest has its turn later
        (1, {"A": 1, "B": 1}, {"A": 1}),
    ],
)
def test_portions_go_by_weight(n_jobs: int, weights: dict[str, float], expected: dict[str, int]) -> None:
    assert portions(n_jobs, weights, least=20, most=500) == expected


def test_pages_leave_no_gaps_and_no_doubles(make_jedi: Callable[..., Jedi]) -> None:
    jedi = make_jedi(jobgen={"jobs_per_transaction": 2})
    jedi.queue()
    ready(jedi, 13, nFilesPerJob=2)
    jedi.run(JobGenerator)
    rows = jedi.jobs().values()
    assert [job.serial_nr for job in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [job.n_input_files for job in rows] == [2, 2, 2, 2, 2, 2, 1]
    assert len({job.created_at for job in rows}) == 1
    assert {file.status for file in jedi.inputs().values()} == {"running"}
    assert jedi.miscounted() == {}


def test_a_small_page_makes_no_small_jobs(make_jedi: Callable[..., Jedi]) -> None:
    """Where nothing says how many files a job gets, the splitter decides, not how many files were read."""
    jedi = make_jedi(jobgen={"jobs_per_transaction": 1})
    jedi.queue()
    ready(jedi, 7, nFilesPerJob=None)
    jedi.run(JobGenerator)
    assert [job.n_input_files for job in jedi.jobs().values()] == [7]


def test_jobs_are_cut_by_size(make_jedi: Callable[..., Jedi]) -> None:
    jedi = make_jedi(jobgen={"jobs_per_transaction": 2})
    jedi.queue()
    jedi.store("user.alice.in", "a", "b", "c", "d", size_bytes=600 << 20)
    jedi.submit(nGBPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert [job.n_input_files for job in jedi.jobs().values()] == [1, 1, 1, 1]


class Meddling:
    """A splitter during whose second page somebody else takes over the task."""

    engine: sa.Engine
    now: datetime
    pages: int
    meddle: Callable[[sa.Connection, int], Any]

    @hookimpl
    def split_inputs(
        self, task: TaskView, files: Sequence[InputFile], queue: QueueView, complete: bool
    ) -> Sequence[Sequence[InputFile]] | None:
        type(self).pages += 1
        if self.pages == 2:
            with self.engine.begin() as tx:
                type(self).meddle(tx, task.jeditaskid)
        return GenericSplitter().split_inputs(task, files, queue, complete)


def meddled(
    make_jedi: Callable[..., Jedi],
    strangers: Callable[[type], str],
    meddle: Callable[[sa.Connection, int], Any],
) -> Jedi:
    """A task of ten inputs, two to a page, in the middle of which something happens."""
    jedi = make_jedi(jobgen={"jobs_per_transaction": 2}, jobsplitter={"modConfig": f"::{strangers(Meddling)}"})
    Meddling.engine, Meddling.pages, Meddling.meddle = jedi.engine, 0, staticmethod(meddle)  # type: ignore[assignment]
    jedi.queue()
    ready(jedi, 10)
    assert jedi.run(JobGenerator) == [Round(lost=1)]
    assert len(jedi.jobs()) == 2  # the first page, and nothing of the second
    assert [file.status for file in jedi.inputs().values()] == ["running"] * 2 + ["ready"] * 8
    assert jedi.miscounted() == {}
    return jedi


@on_both_databases
def test_a_lease_that_is_lost_in_the_middle_leaves_no_half_page(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str]
) -> None:
    def steal(tx: sa.Connection, task: int) -> None:
        tasks.update_task(tx, task, lease_owner="another")

    jedi = meddled(make_jedi, strangers, steal)
    assert jedi.task().lease_owner == "another"  # and its lease is left to it
    assert jedi.task().next_serial_nr == 3
    jedi.set(lease_owner=None, lease_until=None)
    jedi.run(JobGenerator)
    assert [job.serial_nr for job in jedi.jobs().values()] == list(range(1, 11))


@on_both_databases
def test_a_command_in_the_middle_ends_the_generation(
    make_jedi: Callable[..., Jedi], strangers: Callable[[type], str]
) -> None:
    def kill(tx: sa.Connection, task: int) -> None:
        held = tasks.ref(tasks.get_task(tx, task))
        tasks.move_task(tx, held, TaskState.ABORTING, actor="alice", why="kill", now=Meddling.now)

    Meddling.now = make_jedi().clock()
    jedi = meddled(make_jedi, strangers, kill)
    assert (jedi.task().status, jedi.task().lease_owner) == ("aborting", None)
    assert jedi.run(JobGenerator) == [Round()]


@on_both_databases
def test_inputs_that_came_back_get_new_jobs(jedi: Jedi) -> None:
    jedi.queue()
    ready(jedi, 2)
    jedi.run(JobGenerator)
    failed, _ = jedi.move(jedi.claim(2), JobState.RUNNING, JobState.HOLDING)
    jedi.book([failed], JobState.FAILED, charged=True)
    assert jedi.run(JobGenerator) == [Round(done=1)]
    *_, again = jedi.jobs().values()
    assert (again.attempt_nr, again.serial_nr, again.status) == (2, 3, "activated")
    with jedi.engine.connect() as tx:
        assert len(task_queries.events_of(tx, jedi.jeditaskid)) == 4  # it was running all the time
        assert datasets.recount(tx, jedi.jeditaskid) == {}


def need(jedi: Jedi, needs: Needs, *lfns: str) -> None:
    """Have inputs need something, as after failures."""
    with jedi.engine.begin() as tx:
        needsid = retries.Bookings(tx).needsid(retries.Retry(jeditaskid=jedi.jeditaskid, why="", needs=needs), None)
        tx.execute(sa.update(t.files).where(t.files.c.lfn.in_(lfns)).values(needsid=needsid))


@on_both_databases
def test_what_no_queue_meets_holds_up_no_other_inputs(jedi: Jedi) -> None:
    """More time than any queue has comes before more memory, in the order of needs; the memory is there."""
    jedi.queue(maxtime=86_400, maxrss=64_000)
    ready(jedi, 3, ramCount=2000)
    need(jedi, Needs(max_walltime_seconds=108_000), "f000")
    need(jedi, Needs(ram_count_mb=3000), "f001", "f002")
    jedi.run(JobGenerator)
    assert [job.min_ram_count_mb for job in jedi.jobs().values()] == [3000, 3000]
    assert jedi.task().status == "running"
    jedi.run(JobGenerator)
    assert (len(jedi.jobs()), jedi.task().status) == (2, "pending")
    assert "too short a time limit" in jedi.task().error_dialog


@on_both_databases
def test_inputs_that_need_more_get_jobs_that_ask_for_it_after_the_others(jedi: Jedi, clock: ManualClock) -> None:
    """What retry rules decided: more memory for two inputs, and halves of jobs for one of them."""
    jedi.queue("SMALL", maxrss=2000)
    jedi.queue("LARGE", maxrss=4000)
    ready(jedi, 6, nFilesPerJob=2, ramCount=1000)
    for lfns, needs in ((("f001", "f003"), Needs(3000)), (("f004",), Needs(3000, 7200, 1)), (("f005",), Needs(9000))):
        need(jedi, needs, *lfns)

    def made() -> list[tuple[int, int, int, str]]:
        return [
            (job.n_input_files, job.min_ram_count_mb, job.max_walltime_seconds, job.queue)
            for job in jedi.jobs().values()
        ]

    jedi.run(JobGenerator)
    ((n_files, ram_mb, seconds, _),) = made()
    assert (n_files, ram_mb, seconds) == (2, 1000, 0)
    jedi.run(JobGenerator)
    assert made()[1:] == [(2, 3000, 0, "LARGE")]
    jedi.run(JobGenerator)
    assert made()[2:] == [(1, 3000, 7200, "LARGE")]
    jedi.run(JobGenerator)  # no queue has 9000 MB: only that input has to wait, with the reason
    assert (len(made()), jedi.task().status) == (3, "pending")
    assert "too little memory" in jedi.task().error_dialog
    assert [row.status for row in jedi.inputs().values()] == ["running"] * 5 + ["ready"]
    assert jedi.miscounted() == {}


@pytest.mark.parametrize(
    ("rule", "needs", "expected"),
    [
        ({"nFilesPerJob": 10}, 3, {"nFilesPerJob": 3}),
        ({"nFilesPerJob": 2}, 3, {"nFilesPerJob": 2}),
        ({"nMaxFilesPerJob": 10}, 3, {"nMaxFilesPerJob": 3}),
        ({}, 3, {"nMaxFilesPerJob": 3}),
        ({"nGBPerJob": 5}, 3, {"nGBPerJob": 5, "nMaxFilesPerJob": 3}),
        ({"nGBPerJob": 5}, 0, {"nGBPerJob": 5}),
    ],
)
def test_fewer_files_go_into_the_jobs_of_such_inputs(
    jedi: Jedi, rule: dict[str, int], needs: int, expected: dict[str, int]
) -> None:
    jedi.submit()
    task = from_row(TaskView, jedi.task(), split_rule=rule)
    assert raised(task, Needs(100, 0, needs)).split_rule == expected
    assert task.split_rule == rule


@pytest.mark.parametrize("label", ["user", "managed"])  # whoever submits a task chooses its label
def test_outputs_go_to_no_dataset_of_another_user(jedi: Jedi, label: str) -> None:
    """They were registered in it, and what its owner added was listed among the outputs of the task."""
    with jedi.engine.begin() as tx:
        catalogue.ensure_dataset(tx, "user.alice.a_out.txt", user_name="bob", now=jedi.clock())
    jedi.queue()
    ready(jedi, 2, label=label)
    assert jedi.run(JobGenerator) == [Round(broken=1)]
    assert "user.alice.a_out.txt belongs to bob, not to alice" in jedi.last_line().why
    assert not jedi.jobs()


def test_outputs_of_an_organisation_go_where_others_of_it_have_written(jedi: Jedi) -> None:
    with jedi.engine.begin() as tx:
        catalogue.ensure_dataset(tx, "data.a", user_name="bob", now=jedi.clock())
    jedi.queue()
    jedi.store("user.alice.in", "f0", "f1")
    jedi.submit(reads(), {**OUTPUT, "dataset": "data.a", "value": "${SN}.x"}, label="managed", nFilesPerJob=1)
    jedi.run(TaskRefiner, ContentsFeeder, JobGenerator)
    assert len(jedi.jobs()) == 2
