"""Collects what arrives shortly after one another: the busier a process, the more goes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: More are not taken at once, so that none waits long for the others.
MOST = 100
#: Batches begin at least so far from one another.
APART_SECONDS = 0.005


class Batches(Generic[Item, Result]):
    """Hands items to a function that works on many at a time, in a thread of its own; used on one event loop.

    An item that comes alone is worked on at once.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._is_busy = False  #: a batch is at work, or its moment is set
        self._begun_at = -APART_SECONDS

    async def result(self, item: Item) -> Result:
        """What the function makes of an item; raises what it does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if not self._is_busy:
            self._begin_in_time(loop)
        return await future

    def _begin_in_time(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_busy = True
        pause = self._begun_at + APART_SECONDS - loop.time()
        if pause <= 0 or len(self._waiting) >= MOST:
            self._begin(loop)
        else:
            loop.call_later(pause, self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._begun_at = loop.time()
        working = loop.run_in_executor(self._thread, self._work, [item for item, _ in batch])
        working.add_done_callback(lambda ended: self._end(loop, [future for _, future in batch], ended))

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence[asyncio.Future[Result]],
        ended: asyncio.Future[Sequence[Result]],
    ) -> None:
        self._is_busy = False
        if self._waiting:
            self._begin_in_time(loop)
        error = ended.exception()
        for at, future in enumerate(futures):
            if future.done():  # its client has gone
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(ended.result()[at])
