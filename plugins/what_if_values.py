"""What the values of changes that are tried out have to be: a change that means nothing would be answered in vain."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.queue_keys import LARGEST, Kind, key_faults, shown
from ..core.states import JOBS, JobState
from ..core.tunables import Tunable

#: What nothing that is counted, measured or asked for can exceed: sums and moments made of it stay in their bounds.
MOST = 10**12
#: The same of hours: a century.
MOST_HOURS = 876_600
#: States of jobs that are counted at queues: those in which they are not over.
JOB_STATES = tuple(str(state) for state in JobState if state not in JOBS.final)
#: How far away a site can be (manual ch. 12.1.2: 0 best to 11 worst).
FARTHEST = 11
_NETWORK = re.compile(r"((full|http|none)?(#(IPv4|IPv6)?)?)")


def number(least: float, most: float, of: str, *, whole: bool = False) -> Kind:
    """A number within bounds, both of them allowed; `of` says what it counts or measures."""

    def _holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            return False
        return not whole or value == math.floor(value)

    return Kind(f"{'whole ' if whole else ''}number from {least:g} to {most:.15g}", _holds, f"give {of}")


def one_of(*words: Any) -> Kind:
    """One of some words."""
    named = ", ".join(str(word).lower() if isinstance(word, bool) else str(word) for word in words)
    return Kind("value that there is", lambda value: value in words, f"one of {named}")


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


TEXT = Kind("text", lambda value: isinstance(value, str | None), "in quotes it is one: KEY='\"…\"'")
NAMES = Kind("list of names", _is_names, "such as A,B")
FLAG = one_of(True, False)
NETWORK = Kind(
    "network",
    lambda value: isinstance(value, str) and _NETWORK.fullmatch(value) is not None,
    "full, http or none, and then #IPv4 or #IPv6 if need be",
)

#: Of tasks, by the keys of scenarios. Sizes need not be whole: scouts measure them.
TASK_KINDS: Mapping[str, Kind] = {
    "priority": number(-10_000, 10_000, "a priority", whole=True),
    "coreCount": number(1, 4096, "the cores of a job", whole=True),
    "memory_mb": number(0, LARGEST, "the memory of a job in MB"),
    "workDiskCount_mb": number(0, LARGEST, "the work directory of a job in MB"),
    "outDiskCount_kb": number(0, LARGEST, "the output of an event in kB"),
    "maxWalltime_seconds": number(0, LARGEST, "the seconds that a job may run, 0 for no limit"),
    "nFilesPerJob": number(1, LARGEST, "the input files of a job", whole=True),
    "nGBPerJob": number(1, LARGEST, "the GB of input, output and work of a job"),
    "nEventsPerJob": number(1, LARGEST, "the events of a job", whole=True),
    "minGranularity": number(1, LARGEST, "the events of a range", whole=True),
    "cpuTime": number(0, LARGEST, "the CPU time of an event in cpuTimeUnit"),
    "cpuTimeUnit": one_of("HS06sPerEvent", "mHS06sPerEvent", "HS06sPerEventFixed", "mHS06sPerEventFixed"),
    "cpuEfficiency": number(0, 1000, "percent; 0: the time does not grow with the events"),
    "baseTime": number(0, LARGEST, "seconds that do not grow with the events"),
    "ioIntensity": number(0, LARGEST, "kB/s of a job"),
    "diskIO": number(0, LARGEST, "kB/s of a job"),
    "t1Weight": number(-1, 1000, "-1 for the nucleus only, else 0 or more", whole=True),
    "ipConnectivity": NETWORK,
    "includedSite": NAMES,
    "excludedSite": NAMES,
    **dict.fromkeys(("useLocalIO", "onlyTagsForFC", "eventService", "dynamicNumEvents"), FLAG),
}
_ACTIVITY_KINDS: Mapping[str, Kind] = {
    "last_pilot_hours_ago": number(0, MOST_HOURS, "hours"),
    "last_start_hours_ago": number(0, MOST_HOURS, "hours"),
    "batch_workers": number(0, MOST, "batch jobs", whole=True),
    "disk_io_kbps_per_core": number(0, MOST, "kB/s of a core"),
}
_LINK_KINDS: Mapping[str, Kind] = {
    "closeness": number(0, FARTHEST, "0 for the nearest to 11 for the farthest", whole=True),
    "mbps": number(0, MOST, "Mb/s"),
    "queued_files": number(0, MOST, "files", whole=True),
    "blocked": Kind("reason", lambda value: isinstance(value, str | None), "why nothing may be sent, or null"),
}
_STORAGE_KINDS: Mapping[str, Kind] = {
    "state": one_of("ACTIVE", "DISABLED"),
    "free_gb": number(0, MOST, "GB"),
    "blacklisted": Kind("reason", lambda value: isinstance(value, str | bool | None), "true, false, or why"),
    "nucleus": FLAG,
}
_JOBS = number(0, MOST, "jobs", whole=True)


def fault_of(noun: str, key: str, value: Any, setting: Tunable[Any] | None) -> Iterable[tuple[str, str]]:
    """What is wrong with a value, and what to do, by the noun and key of the change; nothing if it is in order.

    The key is one that there is, but for states of jobs, which are looked up here. `setting` is that of the key.
    """
    if noun == "jobs" and key not in JOB_STATES:
        yield f"{key!r} is no state in which jobs are counted", f"one of {', '.join(JOB_STATES)}"
    if noun == "queue" and key not in _ACTIVITY_KINDS:
        yield from ((fault.what, fault.do) for fault in key_faults({key: value}))
        return
    kind = _kind(noun, key, setting)
    if not kind.holds(value):
        yield f"{shown(value)} is no {kind.says}", kind.do


def _kind(noun: str, key: str, setting: Tunable[Any] | None) -> Kind:
    if noun == "task":
        return TASK_KINDS.get(key, TEXT)
    if setting is None:
        kinds = {"queue": _ACTIVITY_KINDS, "link": _LINK_KINDS, "storage": _STORAGE_KINDS}
        return kinds[noun][key] if noun in kinds else _JOBS
    if setting.bounds is None:
        return FLAG if setting.kind == "bool" else TEXT
    return number(*setting.bounds, setting.unit, whole=setting.kind == "int")
