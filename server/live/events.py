"""What goes over a stream, and where a reader is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: A reader that lost its connection comes again after so long.
RETRY_MILLISECONDS = 2000
BEGINNING = f"retry: {RETRY_MILLISECONDS}\n\n"
#: Keeps proxies from closing a stream on which nothing happens.
STILL_HERE = ": still here\n\n"
END = "end"
_ID = re.compile(r"(\d{1,18})\.([0-9a-f]{1,16})(\.end)?")


@dataclass(frozen=True)
class Seen:
    """Where a reader is: how far it has come, a mark of the state that it knows, and whether it was told of the end.

    As text it is the id of an event, which browsers send back as `Last-Event-ID`.
    """

    upto: int = 0
    mark: str = "0"
    over: bool = False

    def __str__(self) -> str:
        return f"{self.upto}.{self.mark}{'.end' if self.over else ''}"

    @classmethod
    def parse(cls, text: str) -> Seen:
        """The place that an id stands for; the beginning for none, and for one that is not ours."""
        found = _ID.fullmatch(text)
        return cls(int(found[1]), found[2], found[3] is not None) if found else cls()


@dataclass(frozen=True)
class Event:
    """One event: its name, its data, and where its reader is after it."""

    name: str
    data: Mapping[str, Any]
    seen: Seen

    def __str__(self) -> str:
        return f"event: {self.name}\nid: {self.seen}\ndata: {compact(self.data)}\n\n"


def compact(data: Any) -> str:
    """JSON on one line; moments are ISO 8601 in UTC."""
    return json.dumps(data, default=datetime.isoformat, separators=(",", ":"))


def text_of(events: Sequence[Event]) -> str:
    """Events as they go over the wire."""
    return "".join(map(str, events))
