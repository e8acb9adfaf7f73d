"""Rows made by the data functions alone, and callers that come at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from patience import PATIENCE_SECONDS
from world import World

from bamboo.core.clock import ManualClock
from bamboo.sql import tasks


@pytest.fixture
def submit_row(clock: ManualClock) -> Callable[..., int]:
    """Enters a task by the data function alone, with further columns if given."""

    def _submit(tx: sa.Connection, **columns: Any) -> int:
        usual = {"task_name": "a", "user_name": "alice", "vo": "wlcg", "prod_source_label": "user", "split_rule": {}}
        return tasks.insert_task(
            tx, {"taskName": "a"}, actor="test", now=clock(), request_id=None, **{**usual, **columns}
        )

    return _submit


@pytest.fixture
def world(engine: sa.Engine, clock: ManualClock) -> World:
    return World(engine, clock)


@pytest.fixture
def at_once() -> Callable[[int, Callable[[int], Any]], list[Any]]:
    """Calls a function with 0, 1, 2… in as many threads, which start together; gives what it returned."""

    def _at_once(n: int, function: Callable[[int], Any]) -> list[Any]:
        barrier = Barrier(n)

        def _one(number: int) -> Any:
            barrier.wait(PATIENCE_SECONDS)
            return function(number)

        with ThreadPoolExecutor(n) as pool:
            return list(pool.map(_one, range(n)))

    return _at_once
