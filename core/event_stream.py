"""Reading streams of server-sent events (HTML standard, chapter 9.2). Standard library only and Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

EVENT_STREAM = "text/event-stream"


class StreamEvent(NamedTuple):
    """One event as it came: its name, the id to come again with, and its data, on one line."""

    name: str
    id: str
    data: str


def read_events(lines: Iterable[str]) -> Iterator[StreamEvent]:
    """The events that are whole, in lines without their ends; comments and what is not understood are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name:
            fields[name] = value[1:] if value.startswith(" ") else value
        elif not line:
            if "data" in fields:
                yield StreamEvent(fields.get("event", ""), fields.get("id", ""), fields["data"])
            fields = {}
