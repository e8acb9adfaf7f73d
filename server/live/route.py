"""The answer of a route that is a stream: what there is to tell now, with the wish to go on."""

from __future__ import annotations

from typing import Annotated

from flask import Response, request
from pydantic import Field

from ...core.event_stream import EVENT_STREAM
from ..context import context
from .events import BEGINNING, Seen, text_of
from .feeds import feeds
from .streams import WANTED, Wanted

#: The argument by which those say where they were who cannot send a header.
LastSeen = Annotated[str, Field(max_length=100, description="as the header `Last-Event-ID`, which goes before it")]
#: Proxies and browsers must hand on each event as it comes.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def stream(kind: str, object_id: int, *, reader: str = "") -> Response:
    """Events of an object, which must be there, from where the reader was (`Last-Event-ID`).

    A named reader gets no more streams than a part of those that there may be.

    A reader who was told of the end before gets 204, at which browsers come no more. Where no gateway takes the stream
    over, the answer ends here, and readers come again for more.
    """
    seen = Seen.parse(request.headers.get("Last-Event-ID") or request.args.get("last_event_id", ""))
    if seen.over:
        return Response(status=204)
    feed = feeds()[kind]
    with context().reading() as tx:
        there_is = feed.look(tx, {object_id: seen}).get(object_id)
    events = feed.news(there_is, seen) if there_is else []
    last = events[-1].seen if events else seen
    if not last.over:
        request.environ[WANTED] = Wanted(kind, object_id, last, reader)
    return Response(BEGINNING + text_of(events), mimetype=EVENT_STREAM, headers=_HEADERS)
