"""Partitions: tags at refinement, one agent for each at a time, every one in its turn, and none above its limit."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.partitions import (
    LEASE_PREFIX,
    QUEUED_MAX,
    QUEUED_MIN,
    QUEUED_PER_RUNNING,
    WORK_QUEUE_QUEUED_MAX,
    WORK_QUEUE_QUEUED_MIN,
    WORK_QUEUE_QUEUED_PER_RUNNING,
    Limit,
    Load,
    Partition,
    throttled,
)
from bamboo.core.shares import Share
from bamboo.core.states import JobState
from bamboo.core.tagging import WorkQueue
from bamboo.core.tunables import Numbers
from bamboo.jedi.agents import ContentsFeeder, JobGenerator, TaskRefiner
from bamboo.jedi.task_agent import Round
from bamboo.sql import leases, settings, shares, tasks
from bamboo.tests.jedi.rounds import Jedi, on_both_databases

TREE = [
    Share("production", None, 60, patterns={"prod_source_label": "managed"}),
    Share("data", "production", 50, patterns={"working_group": "AP_Data"}),
    Share("mc", "production", 50, match_order=1),
    Share("analysis", None, 40, match_order=2),
]


@pytest.fixture
def shared(jedi: Jedi) -> Jedi:
    """A system with shares, a queue and some files."""
    with jedi.engine.begin() as tx:
        shares.set_shares(tx, TREE)
    jedi.queue(maxrss=100_000, corecount=8)
    jedi.store("user.alice.in", *(f"f{n:03d}" for n in range(4)))
    return jedi


def ready(jedi: Jedi, label: str = "user", **parameters: object) -> int:
    number = jedi.submit(label=label, **{"nFilesPerJob": 1, **parameters})
    jedi.run(TaskRefiner, ContentsFeeder)
    return number


def at_shares(jedi: Jedi) -> Counter[str]:
    return Counter(job.gshare for job in jedi.jobs().values())


def set_number(jedi: Jedi, key: str, value: int | float) -> None:
    kind = type(value).__name__
    with jedi.engine.begin() as tx:
        settings.set_value(tx, "jobthrottle", key, "jedi", str(value), kind=kind, now=jedi.clock())


@on_both_databases
def test_a_task_is_tagged_when_it_is_refined_and_its_jobs_like_it(shared: Jedi) -> None:
    ready(shared, "managed", workingGroup="AP_Data", coreCount=8, ramCount=3000)
    assert (shared.task().gshare, shared.task().resource_type) == ("data", "MCORE_HIMEM")
    shared.run(JobGenerator)
    assert {(job.gshare, job.resource_type) for job in shared.jobs().values()} == {("data", "MCORE_HIMEM")}


def test_a_task_that_is_retried_is_tagged_by_the_shares_of_then(shared: Jedi) -> None:
    ready(shared)
    shared.run(JobGenerator)
    assert shared.task().gshare == "analysis"
    held = shared.move(shared.claim(4), JobState.STARTING, JobState.RUNNING)
    hopeless = {file.fileid: False for file in shared.inputs().values()}
    shared.book(held, JobState.FAILED, charged=True, give_back=hopeless)
    shared.set(status="finished")
    with shared.engine.begin() as tx:
        shares.set_shares(tx, [Share("everything", None, 100)])
    assert shared.command("retry").status == "done"
    assert (shared.task().status, shared.task().gshare) == ("ready", "everything")


@on_both_databases
def test_each_round_is_for_the_partition_that_was_served_longest_ago(shared: Jedi, clock: ManualClock) -> None:
    set_number(shared, QUEUED_MIN.key, 1)
    for label in ("user", "managed", "user"):
        ready(shared, label)
    agent = JobGenerator(shared.context)
    assert agent.run_once() == Round(done=2)  # both tasks of analysis; the second finds the partition full
    assert at_shares(shared) == {"analysis": 1}
    clock.advance(seconds=1)
    assert agent.run_once() == Round(done=1)
    assert at_shares(shared) == {"analysis": 1, "mc": 1}


def test_a_partition_that_another_agent_holds_is_left_to_it(shared: Jedi, clock: ManualClock) -> None:
    ready(shared)
    name = f"{LEASE_PREFIX}analysis/SCORE"
    with shared.engine.begin() as tx:
        other = leases.acquire(tx, name, "another", until=clock() + timedelta(minutes=5), now=clock())
    assert shared.run(JobGenerator) == [Round()]
    ready(shared, "managed")
    assert shared.run(JobGenerator) == [Round(done=1)]
    assert at_shares(shared) == {"mc": 4}
    assert other is not None
    with shared.engine.begin() as tx:
        leases.release(tx, other)
    assert shared.run(JobGenerator) == [Round(done=1)]
    assert at_shares(shared) == {"mc": 4, "analysis": 4}
    with shared.engine.connect() as tx:
        assert leases.free_at(tx, name) == clock()  # given back: it was last taken now, and nobody has it


def test_an_agent_that_lost_its_partition_makes_no_more_jobs_in_it(shared: Jedi, clock: ManualClock) -> None:
    """Its lease ran out over a slow plugin, and another agent has the partition."""
    ready(shared)
    agent = JobGenerator(shared.context)
    take = agent._turns._take

    def lose(*given: object) -> object:
        turn = take(*given)  # type: ignore[arg-type]
        clock.advance(hours=1)
        with shared.engine.begin() as tx:
            leases.acquire(tx, f"{LEASE_PREFIX}analysis/SCORE", "b", until=clock() + timedelta(hours=1), now=clock())
        return turn

    agent._turns._take = lose  # type: ignore[assignment, method-assign]
    assert agent.run_once() == Round(lost=1)
    assert shared.jobs() == {}


@on_both_databases
def test_a_full_partition_holds_up_its_own_tasks_only(shared: Jedi, clock: ManualClock) -> None:
    set_number(shared, QUEUED_MIN.key, 1000)
    set_number(shared, QUEUED_MIN.key + "analysis", 3)
    set_number(shared, QUEUED_PER_RUNNING.key, 2.0)
    users = ready(shared)
    agent = JobGenerator(shared.context)
    agent.run_once()
    assert at_shares(shared) == {"analysis": 3}
    agent.run_once()  # before the jobs are counted: it knows what it has made
    task = shared.task()
    assert task.status == "throttled"
    assert task.error_dialog == "throttled: 3 jobs of analysis/SCORE are queued and 0 run: 3 may be queued"
    (gate,) = shared.decided()[0].why["gates"]
    assert gate["change"] == "1 fewer queued jobs, or PARTITION_QUEUED_MIN_analysis above 3"
    ready(shared, "managed")
    agent.run_once()
    assert at_shares(shared) == {"analysis": 3, "mc": 4}
    clock.advance(minutes=2)
    shared.claim(2)  # of those of one share or another
    shared.count_jobs()
    shared.run(JobGenerator, JobGenerator)
    with shared.engine.connect() as tx:
        assert tasks.get_task(tx, users).status == "running"


@on_both_databases
def test_several_agents_together_keep_the_limit(shared: Jedi) -> None:
    """Each knew only what it had made itself since the jobs were counted."""
    set_number(shared, QUEUED_MIN.key, 6)
    set_number(shared, QUEUED_PER_RUNNING.key, 0.0)
    shared.count_jobs()
    for _ in range(3):
        ready(shared)
    agents = [JobGenerator(shared.context) for _ in range(3)]
    for agent in agents:
        agent.tasks_per_round = 1
        agent.run_once()
    assert at_shares(shared) == {"analysis": 6}


@pytest.mark.parametrize(
    ("queued", "running", "room"),
    [
        (0, 0, 100),  # the minimum
        (100, 0, 0),
        (100, 50, 50),  # 3 * 50 = 150
        (999, 400, 1),  # 3 * 400 is above the maximum
        (2000, 400, 0),
    ],
)
def test_room_of_a_partition(queued: int, running: int, room: int) -> None:
    numbers = Numbers().having(QUEUED_MIN, 100).having(QUEUED_PER_RUNNING, 3.0).having(QUEUED_MAX, 1000)
    limit = Limit(Partition("mc", "SCORE"), Load(queued, running), numbers)
    assert limit.room == room
    assert bool(throttled(limit).left) == (room > 0)


def test_without_shares_all_tasks_are_one_partition(jedi: Jedi) -> None:
    jedi.queue()
    jedi.store("user.alice.in", "f")
    ready(jedi)
    ready(jedi, "managed")
    assert jedi.run(JobGenerator) == [Round(done=2)]
    with jedi.engine.connect() as tx:
        assert tx.scalar(sa.text("SELECT count(*) FROM leases WHERE name LIKE 'job_generator%'")) == 0


@pytest.fixture
def piped(shared: Jedi) -> Jedi:
    """Tasks of the campaign `urgent` go to a work queue of that name, which may have 3 jobs queued."""
    with shared.engine.begin() as tx:
        shares.set_work_queues(tx, [WorkQueue(7, "urgent", "any", "any", criteria={"campaign": "urgent"})])
    set_number(shared, WORK_QUEUE_QUEUED_MAX.key + "urgent", 3)
    return shared


@on_both_databases
def test_a_work_queue_with_a_limit_is_a_partition_of_its_own(piped: Jedi, clock: ManualClock) -> None:
    """Its tasks come in its turn, whatever their shares; its limit is its own, and its jobs count for no share."""
    set_number(piped, QUEUED_MIN.key, 4)
    urgent = ready(piped, campaign="urgent")
    ready(piped, "managed", campaign="urgent")
    usual = ready(piped)
    agent = JobGenerator(piped.context)
    assert agent.run_once() == Round(done=2)  # the work queue, which sorts first
    assert at_shares(piped) == {"analysis": 3}  # of the first task alone: the second finds the partition full
    clock.advance(seconds=1)
    piped.count_jobs()
    assert agent.run_once() == Round(done=1)
    assert Counter(job.jeditaskid for job in piped.jobs().values()) == {urgent: 3, usual: 4}
    with piped.engine.connect() as tx:
        own = shares.limited_queues(tx)
        assert own == {7: "urgent"}
    piped.count_jobs()
    with piped.engine.connect() as tx:
        assert shares.loads(tx, own) == {Partition("", "", "urgent"): Load(3), Partition("analysis", "SCORE"): Load(4)}
        assert shares.loads(tx, {})[Partition("analysis", "SCORE")] == Load(7)
    piped.jeditaskid = urgent + 1
    assert piped.task().status == "throttled"
    assert piped.task().error_dialog == "throttled: 3 jobs of work queue urgent are queued and 0 run: 3 may be queued"
    (gate,) = piped.decided()[0].why["gates"]
    assert gate["change"] == "1 fewer queued jobs, or WORK_QUEUE_QUEUED_MAX_urgent above 3"


def test_a_work_queue_is_held_by_one_agent_at_a_time(piped: Jedi, clock: ManualClock) -> None:
    ready(piped, campaign="urgent")
    name = Partition("", "", "urgent").lease_name
    with piped.engine.begin() as tx:
        held = leases.acquire(tx, name, "another", until=clock() + timedelta(minutes=5), now=clock())
        assert leases.holding(tx, name, now=clock()) == ("another", clock())
    assert piped.run(JobGenerator) == [Round()]
    with piped.engine.begin() as tx:
        assert held is not None
        leases.release(tx, held)
        assert leases.holding(tx, name, now=clock()) == (None, clock())
    assert piped.run(JobGenerator) == [Round(done=1)]


def test_a_work_queue_without_a_limit_is_only_a_tag(piped: Jedi) -> None:
    set_number(piped, WORK_QUEUE_QUEUED_MAX.key + "urgent", 0)
    ready(piped, campaign="urgent")
    assert piped.task().work_queue_id == 7
    assert piped.run(JobGenerator) == [Round(done=1)]
    with piped.engine.connect() as tx:
        assert leases.holding(tx, f"{LEASE_PREFIX}analysis/SCORE", now=piped.clock()) == (None, piped.clock())


def test_tasks_of_a_work_queue_that_was_removed_are_in_the_partitions_of_their_shares(piped: Jedi) -> None:
    """Its tag stays with them until they are tagged again, and nobody may forget them."""
    ready(piped, campaign="urgent")
    with piped.engine.begin() as tx:
        shares.set_work_queues(tx, [])
    assert piped.task().work_queue_id == 7
    assert piped.run(JobGenerator) == [Round(done=1)]
    assert at_shares(piped) == {"analysis": 4}


def test_a_limit_of_a_work_queue_divides_the_tasks_where_there_are_no_shares(piped: Jedi) -> None:
    with piped.engine.begin() as tx:
        shares.set_shares(tx, [])
    ready(piped, campaign="urgent")
    ready(piped)
    agent = JobGenerator(piped.context)
    assert [agent.run_once(), agent.run_once()] == [Round(done=1), Round(done=1)]
    with piped.engine.connect() as tx:
        held = tx.scalars(sa.text("SELECT name FROM leases WHERE name LIKE 'job_generator%'")).all()
    assert sorted(held) == [f"{LEASE_PREFIX}Undefined/SCORE", f"{LEASE_PREFIX}work queue urgent"]


@pytest.mark.parametrize(("queued", "running", "room"), [(0, 0, 10), (10, 5, 10), (0, 400, 100), (100, 400, 0)])
def test_room_of_a_work_queue(queued: int, running: int, room: int) -> None:
    numbers = (
        Numbers()
        .having(WORK_QUEUE_QUEUED_MIN, 10, "urgent")
        .having(WORK_QUEUE_QUEUED_PER_RUNNING, 4.0)
        .having(WORK_QUEUE_QUEUED_MAX, 100, "urgent")
    )
    limit = Limit(Partition("", "", "urgent"), Load(queued, running), numbers)
    assert limit.room == room
    assert bool(throttled(limit).left) == (room > 0)
