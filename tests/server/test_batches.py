"""Batches: each item gets its own result, whatever comes together, and nobody waits for one who has gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from patience import PATIENCE_SECONDS

from bamboo.server.batches import MOST, Batches


class Work:
    """Doubles numbers, and notes what came together; -1 is an error of the whole batch."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.seen.append(list(items))
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        if -1 in items:
            raise ValueError("a bad batch")
        return [2 * item for item in items]


def test_everybody_gets_their_own_result() -> None:
    work = Work()

    async def all_at_once() -> list[int]:
        batches: Batches[int, int] = Batches(work)
        return await asyncio.gather(*(batches.result(number) for number in range(3 * MOST)))

    assert asyncio.run(all_at_once()) == [2 * number for number in range(3 * MOST)]
    assert sorted(item for some in work.seen for item in some) == list(range(3 * MOST))
    assert max(map(len, work.seen)) == MOST


def test_an_item_that_comes_alone_is_worked_on_alone_and_those_after_it_together() -> None:
    work = Work()
    work.may_go_on.clear()

    async def one_then_many() -> list[int]:
        batches: Batches[int, int] = Batches(work)
        first = asyncio.create_task(batches.result(0))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(batches.result(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        work.may_go_on.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(one_then_many()) == [0, 2, 4, 6]
    assert work.seen == [[0], [1, 2, 3]]


def test_an_error_is_that_of_its_batch_alone_and_who_has_gone_is_forgotten() -> None:
    work = Work()
    work.may_go_on.clear()

    async def with_trouble() -> int:
        batches: Batches[int, int] = Batches(work)
        bad, gone = asyncio.create_task(batches.result(-1)), asyncio.create_task(batches.result(7))
        await asyncio.sleep(0)
        later = asyncio.create_task(batches.result(8))
        await asyncio.sleep(0)
        gone.cancel()
        work.may_go_on.set()
        with pytest.raises(ValueError, match="a bad batch"):
            await bad
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await later

    assert asyncio.run(with_trouble()) == 16
