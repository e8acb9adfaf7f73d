"""Global shares in the database: valid or refused, counted in cores, and live work that follows them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from world import World

from bamboo.core.clock import ManualClock
from bamboo.core.errors import Invalid, Unavailable
from bamboo.core.partitions import Load, Partition
from bamboo.core.shares import Share, Usage
from bamboo.core.states import JobState, TaskState
from bamboo.core.tagging import ResourceType, WorkQueue
from bamboo.sql import counts, jobs, leases, shares, tasks
from bamboo.sql import tables as t

TREE = [
    Share("production", None, 60, patterns={"prod_source_label": "managed"}),
    Share("data", "production", 50, patterns={"campaign": "data.*"}),
    Share("mc", "production", 50, match_order=1),
    Share("analysis", None, 40, 2, {"prod_source_label": "user"}),
]


def test_shares_come_back_as_they_were_entered(engine: sa.Engine) -> None:
    with engine.begin() as tx:
        shares.set_shares(tx, TREE)
    with engine.begin() as tx:
        assert shares.tree(tx).shares == {share.name: share for share in TREE}
        shares.set_share(tx, Share("mc", "production", 30))
        assert shares.remove_share(tx, "data").children["production"] == ("mc",)
        with pytest.raises(Invalid, match="its parent 'production' is no share"):
            shares.remove_share(tx, "production")
        assert sorted(shares.tree(tx).shares) == ["analysis", "mc", "production"]


def test_a_bad_import_is_refused_with_all_faults_and_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as tx:
        shares.set_shares(tx, TREE)
    with pytest.raises(Invalid) as caught, engine.begin() as tx:
        shares.replace_all(
            tx,
            [Share("a", "b", 1)],
            [ResourceType("SCORE", 2, 1), ResourceType("Undefined")],
            [WorkQueue(1, "q", "any", "any", criteria={"vo": "["})],
        )
    assert [fault.where for fault in caught.value.faults] == ["share a", "resource type SCORE", "work queue q, vo"]
    with engine.connect() as tx:
        assert len(shares.tree(tx).shares) == 4
        assert len(shares.tags(tx).types) == 5  # the usual ones, which the migration enters


def test_a_table_that_was_broken_by_hand_holds_work_up_but_breaks_no_task(engine: sa.Engine) -> None:
    with engine.begin() as tx:
        tx.execute(sa.insert(t.global_shares).values(name="a", parent="nobody", value=1))
        with pytest.raises(Unavailable, match="its parent 'nobody' is no share"):
            shares.tags(tx)


def test_use_is_counted_in_cores_and_load_in_jobs(world: World) -> None:
    world.start(9)
    world.generate(2, gshare="mc", core_count=8, resource_type="MCORE")
    world.claim(1)
    world.generate(3, gshare="mc")
    world.generate(1, JobState.DEFINED, gshare="data")
    with world.engine.begin() as tx:
        assert shares.counted_at(tx) is None
        counts.replace(tx, now=world.clock())
        assert shares.counted_at(tx) == world.clock()
        assert shares.usage(tx) == {"mc": Usage(8, 11), "data": Usage(0, 1)}
        assert shares.loads(tx, {}) == {
            Partition("mc", "MCORE"): Load(1, 1),
            Partition("mc", "SCORE"): Load(3, 0),
            Partition("data", "SCORE"): Load(1, 0),
        }
        assert shares.order_of(tx) is None
        shares.set_shares(tx, TREE)
        order = shares.order_of(tx)
        assert order is not None and order.order == ("data", "mc")


def test_live_work_follows_when_shares_are_edited(world: World) -> None:
    world.start(4)
    over, _ = world.run(2)
    (waiting,) = world.generate(1, core_count=8, min_ram_count_mb=64_000)
    world.report([over])
    world.book([jobs.JobRef(over.pandaid, over.attempt_nr, JobState.HOLDING)])
    with world.engine.begin() as tx:
        shares.set_shares(tx, TREE)
        shares.set_work_queues(tx, [WorkQueue(5, "users", "user", "wlcg", criteria={"gshare": "analysis"})])
        assert shares.retag(tx, now=world.clock()) == (None, 1, 2)
        assert shares.retag(tx, now=world.clock()) == (None, 0, 0)
        row = tasks.get_task(tx, world.jeditaskid)
        assert (row.gshare, row.resource_type, row.work_queue_id) == ("analysis", "SCORE", 5)
    assert {(job.status, job.gshare, job.resource_type) for job in world.jobs().values()} == {
        ("running", "analysis", "SCORE"),
        ("activated", "analysis", "MCORE_HIMEM"),
        ("finished", "Undefined", "SCORE"),
    }
    assert world.jobs()[waiting].status == "activated"


def test_pages_of_tasks_are_tagged_one_after_the_other(
    engine: sa.Engine, clock: ManualClock, submit_row: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "PAGE", 2)
    with engine.begin() as tx:
        ids = [submit_row(tx, prod_source_label="user") for _ in range(5)]
        tasks.update_task(tx, ids[1], status=TaskState.DONE)  # over: left as it is
        shares.set_shares(tx, TREE)
        after: int | None = 0
        changed = []
        while after is not None:
            after, n_tasks, _ = shares.retag(tx, after=after, now=clock())
            changed.append(n_tasks)
        assert changed == [2, 2, 0]
        assert [tasks.get_task(tx, number).gshare for number in ids] == ["analysis", "Undefined", *["analysis"] * 3]


def test_waiting_tasks_are_partitions_by_share_and_resource_type(
    engine: sa.Engine, clock: ManualClock, submit_row: Callable[..., int]
) -> None:
    with engine.begin() as tx:
        submit_row(tx, gshare="mc", resource_type="MCORE")
        submit_row(tx, gshare="mc", resource_type="MCORE")
        submit_row(tx, gshare="data", next_round_at=clock() + timedelta(seconds=1))
        submit_row(tx, gshare="data", lease_owner="x", lease_until=clock() + timedelta(seconds=1))
        given = tasks.partitions(tx, [TaskState.REGISTERED], now=clock(), own={})
        assert given == [Partition("mc", "MCORE")]
        held = tasks.take(
            tx, [TaskState.REGISTERED], owner="me", until=clock(), now=clock(), limit=9,
            conditions=tasks.of_partition(given[0], {}),
        )  # fmt: skip
        assert len(held) == 2
        later = clock() + timedelta(seconds=2)
        assert Partition("data", "Undefined") in tasks.partitions(tx, [TaskState.REGISTERED], now=later, own={})


def test_when_leases_were_last_taken(engine: sa.Engine, clock: ManualClock) -> None:
    with engine.begin() as tx:
        leases.acquire(tx, "a", "me", until=clock(), now=clock())
        assert leases.last_runs(tx, ["a", "b"]) == {"a": clock()}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_two_who_edit_shares_at_once_lose_nothing(engine: sa.Engine) -> None:
    """Each edit replaces the table by what its author saw of it."""
    with engine.begin() as tx:
        shares.set_shares(tx, [Share("X", None, 50), Share("Y", None, 50, 1)])
    together = threading.Barrier(2)

    def _edit(change: Callable[[sa.Connection], object]) -> None:
        with engine.begin() as tx:
            shares.tree(tx)
            together.wait()
            change(tx)

    edits = [lambda tx: shares.set_share(tx, Share("A", None, 10, 2)), lambda tx: shares.remove_share(tx, "Y")]
    threads = [threading.Thread(target=_edit, args=(edit,)) for edit in edits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as tx:
        assert sorted(shares.tree(tx).shares) == ["A", "X"]
