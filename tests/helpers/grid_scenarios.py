"""Scenarios of brokerage: files that read like the documentation, made into snapshots (docs/brokerage.md).

Every word that a scenario may use stands in one of the tables below; a word that does not is a fault, and all faults of
a file are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scenario_files import Entry, Words, is_scenario, numbers, read_entries, setting_keys, unknown_words
from sizes import task_view

import bamboo.plugins.production  # noqa: F401 - declares the settings
from bamboo.core.errors import Fault
from bamboo.core.tagging import ResourceType
from bamboo.plugins.contracts import QueueView, StorageView, TaskView
from bamboo.plugins.grid import Activity, Amount, Beside, Grid, Inputs, Link, Work
from bamboo.plugins.production.job_broker import GATES, Brokered, broker
from bamboo.plugins.what_if import LINK, QUEUE_ACTIVITY, TASK_COLUMNS, TASK_RULES
from bamboo.plugins.what_if import STORAGE as STORAGE_KEYS
from bamboo.sql.queue_values import COLUMN_OF_KEY

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GB = 1 << 30

SECTIONS = (
    "scenario",
    "manual",
    "work",
    "settings",
    "task",
    "queues",
    "links",
    "storages",
    "software",
    "resource_types",
    "inputs",
    "preassigned",
    "passed_over_hours",
    "expect",
)
QUEUE_ATTRIBUTES = (
    "fairsharepolicy",
    "maxDiskIO",
    "releases",
    "architectures",
    "minrss",
    "direct_access_lan",
    "corepower",
    "wnconnectivity",
    "jobseed",
    "transferringlimit",
    "numSlots",
    "capability",
    "catchall",
)
QUEUE = (*COLUMN_OF_KEY, *QUEUE_ATTRIBUTES, *QUEUE_ACTIVITY, "jobs")
STORAGE = ("site", *STORAGE_KEYS)
INPUTS = ("files", "gb", "events", "at", "secondary_gb_per_job", "secondary_gb_per_file")
RESOURCE_TYPE = ("cores", "ram_per_core_mb")
JOBS = ("defined", "assigned", "activated", "sent", "starting", "running", "transferring", "holding")
EXPECT = ("chosen", "refused", "changes", "weights", "pseudo_queues")

TASK_DEFAULTS: dict[str, Any] = {
    "jeditaskid": 10_000_000,
    "task_name": "a",
    "vo": "atlas",
    "prod_source_label": "managed",
    "status": "ready",
    "current_priority": 500,
    "resource_type": "SCORE",
}
QUEUE_DEFAULTS: dict[str, Any] = {
    "vo": None,
    "status": "online",
    "state": "ACTIVE",
    "type": "unified",
    "core_count": 1,
    "max_rss_mb": 0,
    "max_wdir_mb": 0,
    "max_time_seconds": 0,
    "storage": "LOCAL",
}


class Scenario(Entry):
    """A scenario as it was read."""

    def broker(self) -> Brokered:
        return broker(*snapshot(self.data))


def read(path: Path) -> list[Scenario]:
    """The scenarios of a file; raises `Invalid` with every fault in it."""
    return [Scenario(one.name, one.file, one.data) for one in read_entries(path, faults_of)]


#: Sections whose parts have names.
_NAMED = (("queues", QUEUE), ("links", (*LINK, "queued")), ("storages", STORAGE), ("resource_types", RESOURCE_TYPE))


def faults_of(data: Any, where: str) -> list[Fault]:
    """Every unknown word of a scenario, with the one that may have been meant."""
    if not is_scenario(data):
        return [Fault(where, "not a scenario", "give at least `scenario`, `queues` and `expect`")]
    where = f"{where} {data['scenario']!r}"
    gates = {gate.name: gate for gate in GATES}
    settings = setting_keys("jobbroker")
    tables: list[Words] = [
        ("", data, SECTIONS),
        ("settings", data.get("settings"), settings),
        ("task", data.get("task"), (*TASK_COLUMNS, *TASK_RULES)),
        ("inputs", data.get("inputs"), INPUTS),
        ("expect", data.get("expect"), EXPECT),
        ("expect.changes", data["expect"].get("changes"), data.get("queues") or ()),
        ("expect.refused", data["expect"].get("refused"), data.get("queues") or ()),
        ("expect.refused", dict.fromkeys((data["expect"].get("refused") or {}).values(), 0), gates),
        ("expect.pseudo_queues", data["expect"].get("pseudo_queues"), data.get("queues") or ()),
        ("expect.chosen", dict.fromkeys(data["expect"].get("chosen") or (), 0), data.get("queues") or ()),
        ("work", {data.get("work", "run"): 0}, [str(one) for one in Work]),
    ]
    for section, keys in _NAMED:
        for name, part in (data.get(section) or {}).items():
            tables.append((f"{section}.{name}", part, keys))
            tables.append((f"{section}.{name}.jobs", (part or {}).get("jobs"), JOBS))
    return unknown_words(where, tables)


def snapshot(data: Mapping[str, Any]) -> tuple[TaskView, list[QueueView], Grid]:
    """The task, the queues and the grid that a scenario describes."""
    queues = {name: part or {} for name, part in (data.get("queues") or {}).items()}
    grid = Grid(
        now=NOW,
        numbers=numbers(data.get("settings") or {}, "jobbroker"),
        work=Work(data.get("work", "run")),
        preassigned=tuple(data.get("preassigned") or ()),
        passed_over_since=hours_ago(data.get("passed_over_hours")),
        links=dict(link(way, part) for way, part in (data.get("links") or {}).items()),
        storages={name: storage(name, part or {}) for name, part in (data.get("storages") or {}).items()},
        activity={name: activity(part) for name, part in queues.items()},
        software=data.get("software") or {},
        resource_types=[resource_type(name, part) for name, part in (data.get("resource_types") or {}).items()],
        inputs=inputs(data.get("inputs")),
    )
    return task(data.get("task") or {}), [queue(name, part) for name, part in queues.items()], grid


def task(given: Mapping[str, Any]) -> TaskView:
    columns = {TASK_COLUMNS[key]: value for key, value in given.items() if key in TASK_COLUMNS}
    rule = {key: value for key, value in given.items() if key in TASK_RULES}
    return task_view(**{**TASK_DEFAULTS, **columns, "split_rule": rule})


def queue(name: str, given: Mapping[str, Any]) -> QueueView:
    columns = {COLUMN_OF_KEY[key]: value for key, value in given.items() if key in COLUMN_OF_KEY}
    columns.pop("time_floor_minutes", None)
    attributes = {key: value for key, value in given.items() if key in QUEUE_ATTRIBUTES}
    more = {"queue": name, "attributes": attributes, "jobs": given.get("jobs") or {}}
    return QueueView(**{**QUEUE_DEFAULTS, "site": name, **columns, **more})


def activity(given: Mapping[str, Any]) -> Activity:
    return Activity(
        last_pilot_at=hours_ago(given.get("last_pilot_hours_ago")),
        last_start_at=hours_ago(given.get("last_start_hours_ago")),
        n_batch_workers=given.get("batch_workers", 0),
        disk_io_kbps_per_core=given.get("disk_io_kbps_per_core"),
    )


def hours_ago(hours: float | None) -> datetime | None:
    return None if hours is None else NOW - timedelta(hours=hours)


def link(way: str, given: Mapping[str, Any] | None) -> tuple[tuple[str, str], Link]:
    source, _, destination = (part.strip() for part in way.partition("->"))
    return (source, destination), Link(source=source, destination=destination, **(given or {}))


def storage(name: str, given: Mapping[str, Any]) -> StorageView:
    free = given.get("free_gb")
    return StorageView(
        storage=name,
        site=given.get("site", name),
        state=given.get("state", "ACTIVE"),
        free_bytes=None if free is None else int(free * GB),
        attributes={key: given[key] for key in ("blacklisted", "nucleus") if key in given},
    )


def resource_type(name: str, given: Mapping[str, Any]) -> ResourceType:
    """A resource type; `cores` and `ram_per_core_mb` are [from, to], where nothing after `from` is no limit."""
    least, most = ([*given.get(key, [low]), None][:2] for key, low in (("cores", 1), ("ram_per_core_mb", 0)))
    return ResourceType(name, least[0], least[1], most[0], most[1])


def amount(given: Mapping[str, Any]) -> Amount:
    return Amount(given.get("files", 0), int(given.get("gb", 0) * GB))


def inputs(given: Mapping[str, Any] | None) -> Inputs:
    if given is None:
        return Inputs(are_anywhere=True)
    at_sites = {site: amount(part or {}) for site, part in (given.get("at") or {}).items()}
    beside = Beside(*(given.get(f"secondary_gb_per_{what}", 0) * GB for what in ("job", "file")))
    return Inputs(total=amount(given), n_events=given.get("events", 0), at_sites=at_sites, beside=beside)


def edited(data: Mapping[str, Any], queue_name: str, edits: Mapping[str, Any]) -> dict[str, Any]:
    """A scenario with the changes that a refusal names, made for one queue."""
    changed = deepcopy(dict(data))
    part: dict[str, Any] = changed["queues"][queue_name] or {}
    changed["queues"][queue_name] = part
    places: dict[str, Callable[[], dict[str, Any]]] = {
        "task": lambda: changed.setdefault("task", {}),
        "setting": lambda: changed.setdefault("settings", {}),
        "jobs": lambda: part.setdefault("jobs", {}),
        "storage": lambda: changed["storages"][part.get("storage", QUEUE_DEFAULTS["storage"])],
        "link": lambda: changed["links"][_way(changed, part, queue_name)],
        "": lambda: part,
    }
    for what, value in edits.items():
        noun, _, key = what.rpartition(".")
        places[noun]()[key] = value
    return changed


def _way(data: Mapping[str, Any], part: Mapping[str, Any], queue_name: str) -> str:
    ways: Iterable[str] = data["links"]
    return next(way for way in ways if way.partition("->")[0].strip() == part.get("site", queue_name))
