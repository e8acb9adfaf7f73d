"""Reading live views: events of a task, a job or its output, over connections that come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.event_stream import read_events
from .errors import ServerUnreachable
from .polling import Poller
from .transport import Transport

END = "end"


@dataclass(frozen=True)
class LiveEvent:
    """One event: `step`, `state`, `stdout`, `stderr` or `end`, with its data (docs/api.md)."""

    name: str
    id: str
    data: Mapping[str, Any]


def follow(transport: Transport, path: str, *, poller: Poller | None = None, **query: object) -> Iterator[LiveEvent]:
    """The events of an object until its end. A stream that breaks off is taken up where it was.

    Raises `Refused`, and `ServerUnreachable` when the server is away for longer than the poller has patience.
    """
    poller, last = poller or Poller(), ""
    seen_at = poller.clock()
    while True:
        try:
            for event in read_events(transport.lines(path, {"Last-Event-ID": last} if last else {}, **query)):
                last, seen_at = event.id, poller.clock()
                yield LiveEvent(event.name, event.id, json.loads(event.data))
                if event.name == END:
                    return
        except ServerUnreachable:
            if poller.clock() - seen_at > poller.patience_seconds:
                raise
        poller.sleep(poller.first_seconds)
