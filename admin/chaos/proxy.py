"""A bad network in user space, in a thread of its own: before the server, or before the database."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

CHUNK_BYTES = 1 << 16
#: What a slow network adds to each chunk, in each direction.
DELAY_SECONDS = 0.4
#: How often a held connection looks whether the network is back.
LOOK_SECONDS = 0.05
POSTGRES_PORT = 5432


class Weather(StrEnum):
    """What the network does with what it is given."""

    FAIR = "fair"
    HELD = "held"  #: a silent partition: connections open, and nothing passes
    CUT = "cut"  #: every connection is reset at once
    SLOW = "slow"
    REPLIES_LOST = "replies lost"  #: requests arrive and are carried out; the answer never comes back
    REPLIES_HELD = "replies held"  #: a partition in one direction: requests arrive, answers come when it is over
    WORK_LOST = "work lost"  #: as `REPLIES_LOST`, but only for pilots' requests for work


#: What a request for work has in its first line.
ASKS_FOR_WORK = b"/acquire_jobs"
#: A host and its port, or the path of a socket of this machine.
Address = tuple[str, int] | Path


class Proxy:
    """Listens at a free port of this machine and passes everything on to an address, as the weather allows."""

    def __init__(self, to: Address) -> None:
        self.port = 0
        self.weather = Weather.FAIR
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def change(self, weather: Weather) -> None:
        """Have other weather from now on; `CUT` also ends what is open."""
        self.weather = weather
        if weather is Weather.CUT:
            self._loop.call_soon_threadsafe(self._reset_all)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._reset_all()
        waiting = asyncio.all_tasks(self._loop)
        for task in waiting:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather is Weather.CUT:
            writer.transport.abort()
            return
        try:
            there = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, there[1])
        self._open.update(ends)
        try:
            last = bytearray()
            await asyncio.gather(self._pump(reader, there[1], last), self._pump(there[0], writer, last, is_reply=True))
        except asyncio.CancelledError:
            return  # the campaign is over
        finally:
            self._open.difference_update(ends)
            for end in ends:
                end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._to, Path):
            return await asyncio.open_unix_connection(self._to)
        return await asyncio.open_connection(*self._to)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, last: bytearray, *, is_reply: bool = False
    ) -> None:
        """Pass on what comes, in one direction; `last` is the last request of this connection, for the other one."""
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                if not is_reply:
                    last[:] = chunk
                while self.weather is Weather.HELD or (self.weather is Weather.REPLIES_HELD and is_reply):
                    await asyncio.sleep(LOOK_SECONDS)
                if is_reply and self._is_lost(last):
                    break
                if self.weather is Weather.SLOW:
                    await asyncio.sleep(DELAY_SECONDS)
                sink.write(chunk)
                await sink.drain()
        # One side has ended: HTTP of ours has no use for the other half.
        sink.transport.abort()

    def _is_lost(self, request: bytearray) -> bool:
        """Whether the answer to a request is lost."""
        of_work = self.weather is Weather.WORK_LOST and ASKS_FOR_WORK in request.partition(b"\n")[0]
        return of_work or self.weather is Weather.REPLIES_LOST

    def _reset_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()


def database_behind(url: str) -> tuple[Proxy, str]:
    """A network before a PostgreSQL, and the URL by which it is reached over that network."""
    parsed = sa.make_url(url)
    host, port = parsed.query.get("host") or parsed.host or "127.0.0.1", parsed.port or POSTGRES_PORT
    place = str(host if isinstance(host, str) else host[0])
    proxy = Proxy(Path(place) / f".s.PGSQL.{port}" if place.startswith("/") else (place, port))
    behind = parsed.difference_update_query(["host", "port"]).set(host="127.0.0.1", port=proxy.port)
    return proxy, behind.render_as_string(hide_password=False)
