"""Documents about the grid, in the form of CRIC's JSON (manual ch. 17): checked as a whole, all faults at once.

Queues (schedconfig), sites, storages (ddmendpoints), the blacklist of storages, the closeness of sites (the site
matrix), the software at queues, and what was measured of the network. The manual names the addresses and, but for the
software, leaves the form open; what is accepted is said by each `read_…`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .document_checks import name_faults, objects, short_faults
from .errors import Fault, Invalid
from .network_documents import Link, Measured, read_closeness, read_network
from .queue_keys import LONGEST_NAME, key_faults, name_fault, slips
from .software_documents import read_software

#: What may stand for a character that PostgreSQL's JSON cannot hold: NUL, or half of a surrogate pair.
_SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])|\x00")


class GridKind(StrEnum):
    """What a document is about."""

    QUEUES = "queues"
    SITES = "sites"
    STORAGES = "storages"
    BLACKLIST = "blacklist"
    CLOSENESS = "closeness"
    SOFTWARE = "software"
    NETWORK = "network"


@dataclass(frozen=True)
class Grid:
    """Documents that are in order. None: no document of that kind was given, and nothing is said about it."""

    queues: Mapping[str, Mapping[str, Any]] | None = None
    sites: Mapping[str, Mapping[str, Any]] | None = None
    storages: Mapping[str, Mapping[str, Any]] | None = None
    blacklist: Mapping[str, Mapping[str, str]] | None = None  #: {storage: {activity: reason}}
    closeness: Sequence[Link] | None = None
    software: Mapping[str, Mapping[str, Any]] | None = None
    network: Sequence[Measured] | None = None
    warnings: Sequence[str] = field(default_factory=tuple)


def parse_json(text: str | bytes, where: str) -> Any:
    """A JSON text as objects; raises `Invalid` if it is none, has a key twice, or has what no database keeps."""
    twice: list[str] = []

    def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            twice.extend(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return made

    def _constant(word: str) -> float:
        raise ValueError(f"{word} is no number of JSON")

    def _float(word: str) -> float:
        number = float(word)
        return number if math.isfinite(number) else _constant(word)

    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        document = json.loads(decoded, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else f"it is no JSON: {error}"
        raise Invalid(
            where, [Fault("the document", said, "was it cut off? look at it with `python3 -m json.tool`")]
        ) from error
    faults = [Fault(key, "this key is there twice in one object", "keep one of them") for key in dict.fromkeys(twice)]
    if _SUSPECT.search(decoded):
        faults += [
            Fault(place, "it has a character that no database keeps (NUL, or half a surrogate pair)", "remove it")
            for place in _unkeepable(document, "")
        ]
    if faults:
        raise Invalid(where, faults)
    return document


def _unkeepable(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value):
        yield place or "the document"
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield from _unkeepable(key, f"{place}.{key!r}".lstrip("."))
            yield from _unkeepable(inside, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _unkeepable(inside, f"{place}[{number}]")


def read_grid(documents: Mapping[GridKind, Any]) -> Grid:
    """Check documents that belong together; raises `Invalid` with the faults of all of them."""
    faults: list[Fault] = []
    warnings: list[str] = []
    found = {str(kind): _READERS[kind](document, faults, warnings) for kind, document in documents.items()}
    if faults:
        raise Invalid("these documents cannot be imported", faults)
    return Grid(**found, warnings=(*warnings, *_unknown_storages(found)))


def _read_queues(document: Any, faults: list[Fault], warnings: list[str]) -> dict[str, dict[str, Any]]:
    """Queues by name. A value of null counts as not given; unknown keys are kept."""
    queues = objects(document, GridKind.QUEUES, faults)
    slipped: dict[tuple[str, str], list[str]] = {}
    for name, inside in queues.items():
        fault = name_fault(name, f"queues {name}")
        faults += [fault] if fault else []
        faults += key_faults({key: value for key, value in inside.items() if value is not None}, f"queues {name}.")
        for key, near in slips(inside).items():
            slipped.setdefault((key, near), []).append(name)
    for (key, near), names in slipped.items():
        where = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        warnings.append(f"queues {where}: {key!r} is no known key: did you mean {near!r}?")
    return queues


def _read_sites(document: Any, faults: list[Fault], warnings: list[str]) -> dict[str, dict[str, Any]]:
    """Sites by name, of which `cloud` and `state` mean something here."""
    sites = objects(document, GridKind.SITES, faults)
    for name, inside in sites.items():
        faults += name_faults(GridKind.SITES, name)
        faults += short_faults(f"sites {name}", inside, ("state",))
        cloud = inside.get("cloud")
        if cloud is not None and not (isinstance(cloud, str) and len(cloud) <= 64):
            faults.append(Fault(f"sites {name}.cloud", f"{cloud!r:.80} is no word of up to 64 letters", "shorten it"))
    return sites


def _read_storages(document: Any, faults: list[Fault], warnings: list[str]) -> dict[str, dict[str, Any]]:
    """Storages by name, with their `site` and an address: `arprotocols` or `aprotocols`, `rprotocols`, or `se`.

    See panda-pilot.md 4.2 for the forms of these.
    """
    storages = objects(document, GridKind.STORAGES, faults)
    for name, inside in storages.items():
        where = f"storages {name}"
        faults += name_faults(GridKind.STORAGES, name)
        faults += short_faults(where, inside, ("state", "type"))
        if not isinstance(inside.get("site"), str) or not 0 < len(inside["site"]) <= LONGEST_NAME:
            faults.append(Fault(f"{where}.site", "the name of its site is missing", "give the site"))
        endpoint, path = storage_address(inside)
        if len(endpoint) > 255 or len(path) > 512:
            faults.append(
                Fault(where, "its address is too long", "up to 255 letters for the endpoint, 512 for the path")
            )
        if not endpoint:
            warnings.append(f"{where}: it has no address, so that no job can write to it")
    return storages


def storage_address(document: Mapping[str, Any]) -> tuple[str, str]:
    """Where a storage is: (endpoint, path), the one for writing from the same site first; empty if there is none."""
    by_activity = document.get("arprotocols") or {}
    plain = document.get("rprotocols") or {}
    choices: list[Any] = []
    if isinstance(by_activity, dict):
        order = ("write_lan", "write_wan", "pw", "read_lan", "read_wan", "pr", *by_activity)
        choices += [one for activity in order for one in _listed(by_activity.get(activity))]
    if isinstance(plain, dict):
        choices += [plain[key] for key in sorted(plain)]
    for choice in choices:
        if isinstance(choice, dict) and isinstance(choice.get("endpoint"), str) and isinstance(choice.get("path"), str):
            return choice["endpoint"], choice["path"]
    server = document.get("se")
    return (server, str(document.get("endpoint") or "/")) if isinstance(server, str) and server else ("", "")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_blacklist(document: Any, faults: list[Fault], warnings: list[str]) -> dict[str, dict[str, str]]:
    """{storage: {activity: {"status": {"value": "OFF", "reason": …}}}}, or a plain text as the reason.

    An activity whose status has the value ON is not blacklisted.
    """
    listed: dict[str, dict[str, str]] = {}
    for name, activities in objects(document, GridKind.BLACKLIST, faults).items():
        faults += name_faults(GridKind.BLACKLIST, name)
        for activity, given in activities.items():
            reason = _reason(given)
            if reason is None:
                what = f"{given!r:.80} is neither a reason nor a status"
                faults.append(Fault(f"blacklist {name}.{activity}", what, 'such as {"status": {"value": "OFF"}}'))
            elif reason:
                listed.setdefault(name, {})[activity] = reason
    return listed


def _reason(given: Any) -> str | None:
    """Why an activity is blacklisted; "" if it is not, None if that cannot be understood."""
    if isinstance(given, str):
        return given or "OFF"
    status = given.get("status") if isinstance(given, dict) else None
    if isinstance(status, str):
        status = {"value": status, "reason": given.get("reason")}
    if not isinstance(status, dict) or not isinstance(status.get("value"), str):
        return None
    return "" if status["value"].upper() == "ON" else str(status.get("reason") or status["value"])


def _unknown_storages(found: Mapping[str, Any]) -> list[str]:
    """Storages that queues name and the document of storages does not have, if both were given."""
    if "queues" not in found or "storages" not in found:
        return []
    return [
        f"queues {name}.astorages: there is no storage {storage} in the document of storages"
        for name, inside in found["queues"].items()
        for storage in sorted({one for names in (inside.get("astorages") or {}).values() for one in names})
        if storage not in found["storages"]
    ]


_READERS: Mapping[GridKind, Callable[[Any, list[Fault], list[str]], Any]] = {
    GridKind.QUEUES: _read_queues,
    GridKind.SITES: _read_sites,
    GridKind.STORAGES: _read_storages,
    GridKind.BLACKLIST: _read_blacklist,
    GridKind.CLOSENESS: read_closeness,
    GridKind.SOFTWARE: read_software,
    GridKind.NETWORK: read_network,
}
