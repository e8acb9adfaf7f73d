"""What is said about the network between sites: how near they are, and what was measured (manual ch. 12.1.2).

The site matrix of CRIC has the closeness. The Network Weather Service has files in queues by activity and the
throughput of file transfers; the manual names it and leaves its form open, which is said at `read_network`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .document_checks import objects
from .errors import Fault
from .queue_keys import COUNT, LONGEST_NAME, MEASURE, is_count

CLOSENESS, NETWORK = "closeness", "network"
#: The closeness of a link over which nothing may be sent.
BLOCKED = -1
#: Whose throughput is taken, the best first: the manual takes that of FTS, which newer documents have under Rucio.
MEASURED_BY = ("fts", "rucio")
#: Spans of time over which throughput is given.
SPANS: Mapping[str, str] = {"1h": "hour", "1d": "day", "1w": "week"}


@dataclass(frozen=True)
class Link:
    """How near a site is to another: 0 is nearest (CRIC's scale goes up to about 11), `BLOCKED` that it is shut."""

    source: str
    destination: str
    closeness: int


@dataclass(frozen=True)
class Measured:
    """A link as it was measured: files that wait, by activity, and Mbit/s over the last `hour`, `day` and `week`.

    Moments are None where the document has none. What it does not say is not in the mappings.
    """

    source: str
    destination: str
    queued: Mapping[str, tuple[int, datetime | None]] = field(default_factory=dict)
    mbps: Mapping[str, float] = field(default_factory=dict)
    mbps_at: datetime | None = None


def read_closeness(document: Any, faults: list[Fault], warnings: list[str]) -> list[Link]:
    """[{"src": SITE, "dst": SITE, "closeness": n}], or {SITE: {SITE: n}}. Entries without a closeness are left out."""
    links: dict[tuple[str, str], Link] = {}
    for where, source, destination, closeness in _pairs(document, faults):
        if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in (source, destination)):
            faults.append(Fault(where, f"{source!r:.60} to {destination!r:.60} are no two sites", "give src and dst"))
        elif closeness is not None and not is_count(closeness) and closeness != BLOCKED:
            faults.append(Fault(f"{where}.closeness", f"{closeness!r:.80} is no {COUNT.says}, nor -1", COUNT.do))
        elif closeness is not None:
            links[source, destination] = Link(source, destination, closeness)
    return [links[pair] for pair in sorted(links)]


def _pairs(document: Any, faults: list[Fault]) -> Iterator[tuple[str, Any, Any, Any]]:
    if isinstance(document, list):
        for number, entry in enumerate(document):
            if isinstance(entry, dict):
                yield f"{CLOSENESS} [{number}]", entry.get("src"), entry.get("dst"), entry.get("closeness")
            else:
                faults.append(Fault(f"{CLOSENESS} [{number}]", "it is no object", "with src, dst and closeness"))
        return
    for source, inside in objects(document, CLOSENESS, faults).items():
        for destination, given in inside.items():
            closeness = given.get("closeness") if isinstance(given, dict) else given
            yield f"{CLOSENESS} {source}.{destination}", source, destination, closeness


def read_network(document: Any, faults: list[Fault], warnings: list[str]) -> list[Measured]:
    """{"SOURCE:DESTINATION": {"files": {"queued": {ACTIVITY: {"latest": n, "timestamp": …}}}, "mbps": {…}}}.

    `mbps` is {"fts": {"1h": n, "1d": n, "1w": n, "timestamp": …}}, or the same of `rucio`. Timestamps are ISO 8601, in
    UTC unless they say otherwise; without one, the values are of now. Other parts are left out.
    """
    links: list[Measured] = []
    for name, inside in sorted(objects(document, NETWORK, faults).items()):
        where = f"{NETWORK} {name}"
        source, _, destination = name.partition(":")
        if not all(0 < len(site) <= LONGEST_NAME and ":" not in site for site in (source, destination)):
            faults.append(Fault(where[:160], "this is no pair of sites", 'such as "SOURCE:DESTINATION"'))
        files = _part(inside, "files", where, faults)
        queued = {
            activity: one
            for activity, given in _part(files, "queued", f"{where}.files", faults).items()
            if (one := _queued(given, f"{where}.files.queued.{activity}", faults)) is not None
        }
        systems = _part(inside, "mbps", where, faults)
        system = next((one for one in MEASURED_BY if systems.get(one) is not None), "")
        measured = _part(systems, system, f"{where}.mbps", faults) if system else {}
        mbps = {span: measured[key] for key, span in SPANS.items() if measured.get(key) is not None}
        for span, value in mbps.items():
            if not MEASURE.holds(value):
                faults.append(
                    Fault(f"{where}.mbps.{system}", f"{value!r:.80} of the {span} is no {MEASURE.says}", MEASURE.do)
                )
        at = _moment(measured.get("timestamp"), f"{where}.mbps.{system}", faults)
        links.append(Measured(source, destination, queued, mbps, at))
    return links


def _part(inside: Mapping[str, Any], key: str, where: str, faults: list[Fault]) -> Mapping[str, Any]:
    """An object in another; nothing if it is not there."""
    found = inside.get(key)
    if found is None or isinstance(found, dict):
        return found or {}
    faults.append(Fault(f"{where}.{key}", f"{found!r:.80} is no object", "give {…}"))
    return {}


def _queued(given: Any, where: str, faults: list[Fault]) -> tuple[int, datetime | None] | None:
    n_files, timestamp = (given.get("latest"), given.get("timestamp")) if isinstance(given, dict) else (given, None)
    if n_files is None:
        return None
    if not is_count(n_files):
        faults.append(Fault(where, f"{n_files!r:.80} is no {COUNT.says}", COUNT.do))
        return None
    return n_files, _moment(timestamp, where, faults)


def _moment(timestamp: Any, where: str, faults: list[Fault]) -> datetime | None:
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        faults.append(Fault(f"{where}.timestamp", f"{timestamp!r:.80} is no moment", "such as 2026-01-31T12:00:00"))
        return None
