"""Commands on tasks: in their order, each once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from bamboo.core.clock import ManualClock
from bamboo.sql import commands, task_queries
from bamboo.sql import tables as t


@pytest.fixture
def enqueue(engine: sa.Engine, clock: ManualClock) -> Callable[..., int]:
    def _enqueue(task: int, command: str = "kill", **parameters: object) -> int:
        with engine.begin() as tx:
            return commands.enqueue(tx, task, command, user_name="alice", now=clock(), parameters=parameters)

    return _enqueue


@pytest.fixture
def task_ids(engine: sa.Engine, submit_row: Callable[..., int]) -> tuple[int, int]:
    with engine.begin() as tx:
        return submit_row(tx), submit_row(tx)


def test_the_oldest_goes_first_and_is_answered_once(
    engine: sa.Engine, clock: ManualClock, enqueue: Callable[..., int], task_ids: tuple[int, int]
) -> None:
    first, second = enqueue(task_ids[1], "pause"), enqueue(task_ids[0], "finish", soft=True)
    answers = []
    for done in (True, False):
        with engine.begin() as tx:
            command = commands.next_queued(tx)
            assert command is not None
            commands.answer(tx, command.commandid, done=done, text="x" * 2000, now=clock())
            answers.append((command.commandid, command.command, command.parameters))
    assert answers == [(first, "pause", {}), (second, "finish", {"soft": True})]
    with engine.begin() as tx:
        assert commands.next_queued(tx) is None
        rows = tx.execute(sa.select(t.commands).order_by(t.commands.c.commandid)).all()
    assert [(row.status, len(row.answer), row.done_at) for row in rows] == [
        ("done", 1024, clock()),
        ("refused", 1024, clock()),
    ]


def test_the_commands_of_one_task_are_never_overtaken(
    postgres_url: str,
    open_database: Callable[[str], sa.Engine],
    clock: ManualClock,
    submit_row: Callable[..., int],
) -> None:
    """Two commandos at once: the second leaves alone what waits behind the first one's command."""
    engine = open_database(postgres_url)
    with engine.begin() as tx:
        one, other = submit_row(tx), submit_row(tx)
        ids = [
            commands.enqueue(tx, task, command, user_name="alice", now=clock())
            for task, command in ((one, "pause"), (one, "resume"), (other, "kill"))
        ]
    with engine.begin() as slow, engine.begin() as quick:
        held, next_one = commands.next_queued(slow), commands.next_queued(quick)
        assert held is not None and next_one is not None
        assert (held.commandid, next_one.commandid) == (ids[0], ids[2])


def test_a_command_that_waits_is_known(
    engine: sa.Engine, enqueue: Callable[..., int], task_ids: tuple[int, int]
) -> None:
    enqueue(task_ids[0], "finish", soft=True)
    with engine.connect() as tx:
        assert task_queries.is_queued(tx, task_ids[0], "finish", {"soft": True})
        assert not task_queries.is_queued(tx, task_ids[0], "finish", {"soft": False})
        assert not task_queries.is_queued(tx, task_ids[1], "finish", {"soft": True})


def test_a_command_needs_its_task(enqueue: Callable[..., int]) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        enqueue(7)
