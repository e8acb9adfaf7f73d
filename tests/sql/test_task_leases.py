"""Tasks: who may work on one, for how long, and who is too late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.core.errors import IllegalTransition, LeaseLost, NotFound, Stale
from bamboo.core.states import TaskState
from bamboo.sql import tables as t
from bamboo.sql import task_queries, tasks
from bamboo.sql.tasks import TaskRef

S = TaskState


@pytest.fixture
def submit(engine: sa.Engine, submit_row: Callable[..., int]) -> Callable[..., int]:
    def _submit(**columns: Any) -> int:
        with engine.begin() as tx:
            return submit_row(tx, **columns)

    return _submit


@pytest.fixture
def take(engine: sa.Engine, clock: ManualClock) -> Callable[..., list[sa.Row[Any]]]:
    """Takes registered tasks for an owner, for two minutes."""

    def _take(owner: str, limit: int = 9, states: tuple[TaskState, ...] = (S.REGISTERED,)) -> list[sa.Row[Any]]:
        until = clock() + timedelta(minutes=2)
        with engine.begin() as tx:
            return tasks.take(tx, states, owner=owner, until=until, now=clock(), limit=limit)

    return _take


def ids(rows: list[sa.Row[Any]]) -> list[int]:
    return [row.jeditaskid for row in rows]


def test_priority_goes_first_then_age(submit: Callable[..., int], take: Callable[..., Any]) -> None:
    low, high, other_low = submit(current_priority=1), submit(current_priority=9), submit(current_priority=1)
    assert ids(take("a", limit=2)) == [high, low]
    assert ids(take("b")) == [other_low]


def test_a_task_that_was_put_off_does_not_pass_one_that_never_was(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    put_off, other, new = submit(), submit(), submit()
    with engine.begin() as tx:
        tasks.update_task(tx, put_off, next_round_at=clock() - timedelta(minutes=1))
        tasks.update_task(tx, other, next_round_at=clock() - timedelta(minutes=2))
    assert ids(take("a", limit=1)) == [new]
    assert ids(take("a", limit=1)) == [other]


def test_a_task_is_left_alone_until_its_time_has_come(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    task = submit()
    (row,) = take("a")
    with engine.begin() as tx:
        tasks.release(tx, tasks.ref(row, "a"), next_round_at=clock() + timedelta(minutes=5))
    clock.advance(minutes=4)
    assert take("b") == []
    clock.advance(minutes=1)
    assert ids(take("b")) == [task]


def test_states_and_conditions_choose(engine: sa.Engine, clock: ManualClock, submit: Callable[..., int]) -> None:
    mine = submit(user_name="bob")
    submit()
    submit(user_name="bob", status=S.READY)
    with engine.begin() as tx:
        rows = tasks.take(
            tx,
            [S.REGISTERED],
            owner="a",
            until=clock(),
            now=clock(),
            limit=9,
            conditions=[t.tasks.c.user_name == "bob"],
        )
    assert ids(rows) == [mine]


def test_a_lease_keeps_others_away_until_it_runs_out(
    clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    task = submit()
    (row,) = take("a")
    assert (row.lease_owner, row.lost_leases) == ("a", 0)
    clock.advance(minutes=2)
    assert take("b") == []
    clock.advance(seconds=1)
    (row,) = take("b")
    assert (row.jeditaskid, row.lease_owner, row.lost_leases) == (task, "b", 1)


def test_leases_that_were_lost_are_counted_until_one_is_given_back(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    submit()
    counts = []
    for owner in "abcd":
        (row,) = take(owner)
        counts.append(row.lost_leases)
        clock.advance(minutes=3)
    assert counts == [0, 1, 2, 3]
    with engine.begin() as tx:
        tasks.release(tx, tasks.ref(row, "a"))  # too late: it is not a's any more
        assert tasks.get_task(tx, row.jeditaskid).lost_leases == 3
        tasks.release(tx, tasks.ref(row, "d"))
    assert take("e")[0].lost_leases == 0


def test_a_holder_that_lost_its_lease_writes_no_more(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    submit()
    (row,) = take("a")
    mine = tasks.ref(row, "a")
    clock.advance(minutes=3)
    take("b")
    with engine.begin() as tx:
        with pytest.raises(LeaseLost, match="is held by b, not by a"):
            tasks.hold(tx, mine)
        with pytest.raises(LeaseLost):
            tasks.extend(tx, mine, until=clock())
        with pytest.raises(Stale):
            tasks.move_task(tx, mine, S.DEFINED, actor="a", why="late", now=clock())
        tasks.hold(tx, tasks.ref(row, "b"))


def test_an_extended_lease_lasts(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    submit()
    (row,) = take("a")
    with engine.begin() as tx:
        tasks.extend(tx, tasks.ref(row, "a"), until=clock() + timedelta(minutes=10))
    clock.advance(minutes=9)
    assert take("b") == []


def test_a_command_that_came_first_is_seen_by_the_holder(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    submit()
    (row,) = take("a")
    with engine.begin() as tx:
        tasks.move_task(tx, tasks.ref(row), S.ABORTING, actor="alice", why="kill", now=clock())
    with engine.begin() as tx, pytest.raises(Stale, match="has gone from registered to aborting"):
        tasks.hold(tx, tasks.ref(row, "a"))


def test_a_suspended_task_remembers_where_it_was(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int]
) -> None:
    held = TaskRef(submit(status=S.RUNNING), S.RUNNING)
    with engine.begin() as tx:
        for state, old in [(S.PENDING, S.RUNNING), (S.PAUSED, S.RUNNING), (S.READY, S.RUNNING), (S.PAUSED, S.READY)]:
            held = tasks.move_task(tx, held, state, actor="a", why="w", now=clock())
            assert tasks.get_task(tx, held.jeditaskid).old_status == old
        lines = task_queries.events_of(tx, held.jeditaskid)
    assert [line.new_status for line in lines] == ["registered", "pending", "paused", "ready", "paused"]
    assert [line.old_status for line in lines[1:]] == ["running", "pending", "paused", "ready"]


def test_a_move_is_legal_or_a_bug(engine: sa.Engine, clock: ManualClock, submit: Callable[..., int]) -> None:
    task = submit()
    with engine.begin() as tx:
        with pytest.raises(IllegalTransition, match="from registered to done"):
            tasks.move_task(tx, TaskRef(task, S.REGISTERED), S.DONE, actor="a", why="w", now=clock())
        with pytest.raises(Stale):
            tasks.move_task(tx, TaskRef(task, S.DEFINED), S.READY, actor="a", why="w", now=clock())
        assert len(task_queries.events_of(tx, task)) == 1


def test_a_move_forgets_how_long_the_task_was_to_be_left_alone(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    task = submit(status=S.PENDING, old_status=S.READY, next_round_at=clock() + timedelta(hours=1))
    with engine.begin() as tx:
        tasks.move_task(tx, TaskRef(task, S.PENDING), S.ABORTING, actor="a", why="kill", now=clock())
    assert ids(take("a", states=(S.ABORTING,))) == [task]


def test_a_task_that_is_over_has_no_lease_that_a_dead_holder_would_keep(
    engine: sa.Engine, clock: ManualClock, submit: Callable[..., int], take: Callable[..., Any]
) -> None:
    """An agent that was killed between the last step of a task and giving it back left its lease there for good."""
    task = submit(status=S.PREPARED)
    take("a", states=(S.PREPARED,))
    with engine.begin() as tx:
        tasks.move_task(tx, TaskRef(task, S.PREPARED, "a"), S.DONE, actor="a", why="done", now=clock())
        row = tasks.get_task(tx, task)
    assert (row.lease_owner, row.lease_until) == (None, None)


def test_many_agents_at_once_take_each_task_once(
    submit: Callable[..., int], take: Callable[..., Any], at_once: Callable[..., Any]
) -> None:
    made = [submit() for _ in range(24)]
    taken = [task for mine in at_once(6, lambda n: ids(take(f"a{n}", limit=4))) for task in mine]
    assert sorted(taken) == made


def test_serial_numbers_are_given_once(
    engine: sa.Engine, submit: Callable[..., int], at_once: Callable[..., Any]
) -> None:
    task = submit()

    def take_some(n: int) -> list[int]:
        with engine.begin() as tx:
            first = tasks.take_serials(tx, task, n + 1)
        return list(range(first, first + n + 1))

    given = [serial for some in at_once(6, take_some) for serial in some]
    assert sorted(given) == list(range(1, 22))


def test_a_task_that_is_not_there(engine: sa.Engine) -> None:
    with engine.begin() as tx:
        for look in (tasks.get_task, tasks.get_parameters):
            with pytest.raises(NotFound, match="there is no task 7"):
                look(tx, 7)
