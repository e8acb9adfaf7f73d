"""Scenarios of global shares: a tree, what runs and waits, a free slot, and whose turn it is (docs/shares.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from scenario_files import Entry, Words, is_scenario, read_entries, unknown_words
from world import World

from bamboo.core.clock import Clock
from bamboo.core.errors import Fault
from bamboo.core.shares import UNDEFINED, Share, Turns, turns
from bamboo.core.states import JobState
from bamboo.server.share_order import ShareOrder
from bamboo.sql import claims, shares
from bamboo.sql import tables as t

SECTIONS = ("scenario", "manual", "shares", "running", "queued", "jobs", "pilot", "expect")
SHARE = ("value", "parent")
JOB = {
    "share": "gshare",
    "priority": "current_priority",
    "cores": "core_count",
    "memory_mb": "min_ram_count_mb",
    "disk_mb": "max_disk_count_mb",
    "walltime_seconds": "max_walltime_seconds",
}
PILOT = ("memory_mb", "disk_mb", "remaining_seconds")
EXPECT = ("order", "chosen", "job", "targets", "missing_percent", "without_turn")
#: Where the free slot is, and where all else runs and waits.
HERE, ELSEWHERE = "Q", "ELSEWHERE"


def read(path: Path) -> list[Entry]:
    """The scenarios of a file; raises `Invalid` with every fault in it."""
    return read_entries(path, faults_of)


def faults_of(data: Any, where: str) -> list[Fault]:
    """Every unknown word of a scenario, with the one that may have been meant."""
    if not is_scenario(data):
        return [Fault(where, "not a scenario", "give at least `scenario`, `shares` and `expect`")]
    tree, waiting, expect = data.get("shares") or {}, data.get("jobs") or {}, data["expect"]
    leaves = [name for name in tree if all((part or {}).get("parent") != name for part in tree.values())]
    names = [*leaves, UNDEFINED]
    tables: list[Words] = [
        ("", data, SECTIONS),
        *((f"shares.{name}", part, SHARE) for name, part in tree.items()),
        ("shares", [(part or {}).get("parent", name) for name, part in tree.items()], tree),
        ("running", data.get("running"), names),
        ("queued", data.get("queued"), names),
        *((f"jobs.{name}", part, JOB) for name, part in waiting.items()),
        ("jobs", [(part or {}).get("share") for part in waiting.values()], names),
        ("pilot", data.get("pilot"), PILOT),
        ("expect", expect, EXPECT),
        ("expect.job", [expect["job"]] if "job" in expect else [], waiting),
        *((f"expect.{key}", expect.get(key), names) for key in ("order", "missing_percent", "without_turn")),
        ("expect.targets", expect.get("targets"), (*tree, UNDEFINED)),
        ("expect.chosen", [expect["chosen"]] if "chosen" in expect else [], names),
    ]
    return unknown_words(f"{where} {data['scenario']!r}", tables)


@dataclass(frozen=True)
class Served:
    """What came of a scenario: the order with its reasons, and the job that the pilot got, of which share."""

    turns: Turns
    targets: Mapping[str, float]
    share: str | None
    job: str | None


def play(data: Mapping[str, Any], engine: sa.Engine, clock: Clock) -> Served:
    """Enter a scenario in an empty database and have a pilot ask, as the server does it."""
    with engine.begin() as tx:
        tree = {name: part or {} for name, part in data["shares"].items()}
        shares.set_shares(tx, [Share(name, one.get("parent"), one.get("value", 0)) for name, one in tree.items()])
    waiting, queued = data.get("jobs"), dict(data.get("queued") or {})
    given = waiting if waiting is not None else {name: {"share": name} for name, cores in queued.items() if cores}
    world = World(engine, clock).start(len(given), queue=HERE)
    names = {world.generate(1, **_columns(part))[0]: name for name, part in given.items()}
    with engine.begin() as tx:
        _enter(tx, ELSEWHERE, JobState.RUNNING, data.get("running") or {}, clock)
        _enter(tx, HERE if waiting is None else ELSEWHERE, JobState.ACTIVATED, queued, clock)
        _enter(tx, HERE, JobState.ACTIVATED, _cores(waiting or {}), clock)
        standings = shares.standings(tx)
    order, now = ShareOrder(engine, clock)(HERE), clock()
    with engine.begin() as tx:
        asked = claims.Claim(queue=HERE, shares=order, **(data.get("pilot") or {}))
        taken = claims.claim(tx, asked, lease_until=now, now=now)
    got = taken[0] if taken else None
    targets = {one.share: one.target for one in standings}
    return Served(turns(standings), targets, got and got.gshare, got and names[got.pandaid])


def _columns(part: Mapping[str, Any]) -> dict[str, Any]:
    return {JOB[key]: value for key, value in part.items()}


def _cores(waiting: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in waiting.values():
        found[part["share"]] = found.get(part["share"], 0) + part.get("cores", 1)
    return found


def _enter(tx: sa.Connection, queue: str, status: JobState, cores: Mapping[str, int], clock: Clock) -> None:
    """Counts as the chore makes them, of jobs that need not be there one by one."""
    same = {"queue": queue, "status": status, "resource_type": "SCORE", "prod_source_label": "user"}
    rows = [{**same, "gshare": name, "n_jobs": n, "n_cores": n, "counted_at": clock()} for name, n in cores.items()]
    if rows:
        tx.execute(sa.insert(t.job_counts), rows)
