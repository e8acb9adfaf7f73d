"""The streams of one process, on the event loop of the gateway, and the one poller that reads for all of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ...sql.changes import ChangeWatch
from ...sql.engine import reading
from .events import END, STILL_HERE, Event, Seen, text_of
from .feeds import ORDERS, Feed, Output, feeds
from .watching import Watching

log = logging.getLogger(__name__)

#: How often the database is asked, for all streams together.
POLL_SECONDS = 1.0
#: While nothing is written to the database, it is asked this often.
IDLE_SECONDS = 5.0
#: A stream on which nothing happens says so this often.
QUIET_SECONDS = 15.0
#: How long a stream lives at most before its reader has to come again: what the reader may do is asked anew then.
LIFE_SECONDS = 300.0
#: The shortest life as a part of that: those who came together, as after a restart, shall not come again together.
SHORTEST_LIFE = 0.8
#: A stream ends after so much: what its reader does not take waits in memory. Who has taken it comes again for more.
MOST_CHARACTERS = 1 << 18
#: One reader takes no more than this part of the room of a process.
LARGEST_PART = 0.25
#: The key in a request's WSGI environment by which a route asks for its answer to become a stream.
WANTED = "bamboo.stream"
LOG = "log"


@dataclass(frozen=True)
class Wanted:
    """A stream that a route asks for: of an object of a kind, from a place on."""

    kind: str
    object_id: int
    seen: Seen
    reader: str = ""  #: who reads; nobody in particular for pilots, who have one each


@dataclass(eq=False)
class Stream:
    """An open stream: where its reader is, and what is still to be sent; `None` ends it."""

    kind: str
    object_id: int
    seen: Seen
    waiting: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)


class Streams:
    """Sends what is new to `most` readers, and tells `most_pilots` of orders, at a time. Used on one event loop."""

    def __init__(self, engine: sa.Engine, *, most: int, most_pilots: int) -> None:
        self._engine = engine
        self._most = {False: most, True: most_pilots}
        self._n_open: Counter[bool] = Counter()  #: by whether they are pilots', who take no room from readers
        self._n_of: Counter[str] = Counter()  #: by readers
        self._open: set[Stream] = set()
        self._feeds: Mapping[str, Feed] = feeds()
        self._watching = Watching(engine)
        self._changes = ChangeWatch(engine)
        self._looked_for: set[Stream] = set()  #: at the last look
        self._looked_at = 0.0
        self._stands_still = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="streams")
        self._poller: asyncio.Task[None] | None = None

    def has_room(self, kind: str, reader: str = "") -> bool:
        """Whether one more stream of a kind may be opened, by a reader if one is named."""
        most = self._most[kind == ORDERS]
        is_one_too_many = bool(reader) and self._n_of[reader] >= max(1, most * LARGEST_PART)
        return self._n_open[kind == ORDERS] < most and not is_one_too_many

    def is_full(self, kind: str) -> bool:
        """Whether there might be streams of a kind, but for those that there are."""
        return bool(self._most[kind == ORDERS]) and not self.has_room(kind)

    def close(self) -> None:
        """End all streams and open no more."""
        self._most = {False: 0, True: 0}
        for stream in self._open:
            stream.waiting.put_nowait(None)

    async def serve(self, wanted: Wanted, beginning: str, protocol: Any, transport: Any) -> None:
        """Send what there is, and then what is new until the object, the reader or the stream's time is over."""
        stream = Stream(wanted.kind, wanted.object_id, wanted.seen)
        self._open.add(stream)
        self._n_open[stream.kind == ORDERS] += 1
        self._n_of[wanted.reader] += 1
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())
        gone = asyncio.ensure_future(protocol.client_disconnect())
        try:
            await transport.send_str(beginning)
            left = MOST_CHARACTERS
            with suppress(TimeoutError):
                async with asyncio.timeout(LIFE_SECONDS * random.uniform(SHORTEST_LIFE, 1)):  # noqa: S311 - no secret
                    while left > 0 and (text := await _next(stream, gone)) is not None:
                        await transport.send_str(text)
                        left -= len(text)
        finally:
            self._open.discard(stream)
            self._n_open[stream.kind == ORDERS] -= 1
            self._n_of -= Counter([wanted.reader])  # those who have none left are forgotten
            gone.cancel()

    async def _poll(self) -> None:
        """Read for all streams until none is left."""
        loop = asyncio.get_running_loop()
        try:
            streams = [*self._open]
            while streams or self._open:
                await asyncio.sleep(POLL_SECONDS)
                streams = [*self._open]  # none, at last: then pilots hear that nobody reads any more
                try:
                    news = await loop.run_in_executor(self._thread, self._look, streams)
                except Exception as error:  # noqa: BLE001 - most often the database is away: readers wait
                    self._tell(error)
                    continue
                self._stands_still = False
                for stream, events in news:
                    _send(stream, events)
        finally:
            self._poller = None

    def _tell(self, error: Exception) -> None:
        """Say that there is no news, once: while pilots listen, this would be said each second."""
        if not self._stands_still:
            level = logging.WARNING if isinstance(error, sa.exc.SQLAlchemyError) else logging.ERROR
            log.log(level, "streams stand still", exc_info=error, extra={"event": "streams_stand_still"})
        self._stands_still = True

    def _look(self, streams: Sequence[Stream]) -> list[tuple[Stream, list[Event]]]:
        """What is new for each stream: for each kind, one look at all objects of it."""
        is_late = time.monotonic() - self._looked_at >= IDLE_SECONDS
        if self._changes.unchanged() and self._looked_for == set(streams) and not is_late:
            return []
        self._looked_for = set()
        wanted: dict[str, dict[int, Seen]] = defaultdict(dict)
        for stream in streams:
            of_kind = wanted[stream.kind]
            of_kind[stream.object_id] = _least(of_kind.get(stream.object_id, stream.seen), stream.seen)
        with reading(self._engine) as tx:
            found = {kind: self._feeds[kind].look(tx, seen) for kind, seen in wanted.items()}
        read: Mapping[int, Output] = found.get(LOG, {})
        self._watching.keep(read)
        told = []
        for stream in streams:
            there_is = found[stream.kind].get(stream.object_id)
            told.append((stream, self._feeds[stream.kind].news(there_is, stream.seen) if there_is else []))
        self._looked_for, self._looked_at = set(streams), time.monotonic()
        if not streams:
            self._changes.close()
        return told


def _send(stream: Stream, events: Sequence[Event]) -> None:
    if not events:
        return
    stream.seen = events[-1].seen
    stream.waiting.put_nowait(text_of(events))
    if events[-1].name == END:
        stream.waiting.put_nowait(None)


def _least(one: Seen, other: Seen) -> Seen:
    """The place from which both can go on: marks of logs are places too, and those of states do not matter here."""
    return Seen(min(one.upto, other.upto), f"{min(int(one.mark, 16), int(other.mark, 16)):x}")


async def _next(stream: Stream, gone: asyncio.Future[Any]) -> str | None:
    """What is to be sent next; None when the stream is over or its reader has gone."""
    getting = asyncio.ensure_future(stream.waiting.get())
    try:
        await asyncio.wait({getting, gone}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not getting.done():
            getting.cancel()
    if getting.done() and not getting.cancelled():
        return getting.result()
    return None if gone.done() else STILL_HERE
