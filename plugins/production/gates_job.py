"""Gates that hold a job against what a queue offers: cores, software, memory, disk, time (manual ch. 12.1, step 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...core.gates import Refusal
from ...core.queue_keys import catchall_words
from ...core.software_documents import EVERYWHERE
from ...core.tunables import tunable
from ..capacity import SIM_EVENTS, n_sim_events, scratch_mb
from ..grid import Work
from .architecture import EXCLUSIVE, unmet
from .needs import APP, COMPONENT, MB_PER_GB
from .situation import Candidate, Remedy, Situation, input_mb
from .software import ANY, AUTO, has_container, has_release, words

IO_INTENSITY_CUTOFF = tunable(
    APP,
    COMPONENT,
    "IO_INTENSITY_CUTOFF",
    200.0,
    unit="kB/s",
    source="manual ch. 12.1; the number is our choice",
    help="from which on a task's inputs are not moved at will",
)
SIZE_CUTOFF = tunable(
    APP,
    COMPONENT,
    "SIZE_CUTOFF_TO_MOVE_INPUT",
    10.0,
    unit="GB",
    source="manual ch. 12.1; the number is our choice",
    help="of inputs that an I/O-intensive task may have moved to a queue",
)
NUM_CUTOFF = tunable(
    APP,
    COMPONENT,
    "NUM_CUTOFF_TO_MOVE_INPUT",
    100,
    unit="files",
    source="manual ch. 12.1; the number is our choice",
    help="of inputs that an I/O-intensive task may have moved to a queue",
)
MAX_DISKIO = tunable(
    APP,
    COMPONENT,
    "MAX_DISKIO_DEFAULT",
    1000.0,
    unit="kB/s per core",
    source="manual ch. 12.1; the number is our choice",
    help="of queues that give no maxDiskIO",
)
LONG_HOURS = tunable(
    APP, COMPONENT, "MIN_HOURS_FOR_SCOUTS", 24.0, unit="hours", source="manual ch. 12.1: scout and merge jobs"
)
CORE_POWER = tunable(
    APP,
    COMPONENT,
    "CORE_POWER",
    10.0,
    unit="HS06 per core",
    source="our choice: of queues that give no corepower",
    least=0.001,
)
_HOUR = 3600


def input_to_move(at: Situation, one: Candidate) -> Refusal | None:
    needs, missing = at.needs, one.missing
    if not missing.n_files or needs.io_intensity <= (cutoff := at.numbers(IO_INTENSITY_CUTOFF)):
        return None
    gigabytes, n_files = input_mb(missing) / MB_PER_GB, missing.n_files
    most_gb, most_files = at.numbers(SIZE_CUTOFF), at.numbers(NUM_CUTOFF)
    if gigabytes < most_gb and n_files < most_files:
        return None
    text = (
        f"inputs at {one.view.site}: {n_files} files of {gigabytes:.1f} GB are missing, which such a task may "
        f"not move: it is I/O-intensive (limits {most_files} files, {most_gb:g} GB)"
    )
    distance = max(gigabytes / most_gb if most_gb else gigabytes, n_files / most_files if most_files else n_files)
    return Remedy(text, distance, edits={"setting.IO_INTENSITY_CUTOFF": max(cutoff, needs.io_intensity)})


def disk_io(at: Situation, one: Candidate) -> Refusal | None:
    """A queue over its limit gets tasks at or below it only, until its mean has come down."""
    mean, need = one.activity.disk_io_kbps_per_core, at.needs.disk_io_per_core
    if mean is None or not need:
        return None
    limit = one.number("maxDiskIO") or at.numbers(MAX_DISKIO)
    if mean <= limit or need <= limit:
        return None
    text = f"a limit of {math.ceil(need)} kB/s per core on disk I/O: it allows {limit:g} and is at {mean:g}"
    return Remedy(text, need - limit, edits={"maxDiskIO": math.ceil(need)})


def cores(at: Situation, one: Candidate) -> Refusal | None:
    """Unified queues cut their slots as they are asked; all others take jobs of just their number of cores."""
    need, has = at.needs.cores, one.view.core_count
    if not has or need == has or (need < has and one.is_unified):
        return None
    text = f"{need} cores: it has {has}" + ("" if need > has else " and is not unified")
    return Remedy(text, abs(need - has), edits={"corecount": need})


def release(at: Situation, one: Candidate) -> Refusal | None:
    """Release, container and hardware (ch. 12.1.1): `releases` of the queue is ANY, AUTO or a list; none is ANY."""
    needs = at.needs
    listed = [word.lower() for word in words(one.attributes.get("releases"))]
    document = at.grid.software.get(one.name, {})
    offered = one.attributes.get("architectures") or document.get("architectures") or ()
    lacking = unmet(needs.architecture, offered)
    if lacking is not None:
        return _hardware(one, lacking)
    if not listed or ANY in listed or not (needs.release or needs.container):
        return None
    if needs.container:
        fits = AUTO not in listed or has_container(
            document, needs.container, needs.only_tags, at.grid.software.get(EVERYWHERE, {})
        )
        what = f"the container {needs.container}"
    else:
        fits = needs.release is None or _has_release(at, listed, document)
        what = f"the release {needs.release} for {needs.architecture.platform or 'any platform'}"
    return None if fits else Remedy(f"{what}, or ANY in its releases", edits={"releases": "ANY"})


def _has_release(at: Situation, listed: list[str], document: Mapping[str, Any]) -> bool:
    wanted = at.needs.release
    if wanted is None or str(wanted).lower() in listed:
        return True
    return AUTO in listed and has_release(document, wanted, at.needs.architecture.platform)


def _hardware(one: Candidate, lacking: tuple[str, str, str]) -> Refusal:
    kind, attribute, value = lacking
    text = (
        f"{kind} {attribute} {value} among its architectures"
        if value
        else f"a task that asks for a {kind} {attribute}: its architectures are for such tasks only ({EXCLUSIVE})"
    )
    return Remedy(text)


def memory(at: Situation, one: Candidate) -> Refusal | None:
    """Memory per core. A queue's maxrss and minrss are of its whole slot, so both sides are divided by their cores."""
    if not at.needs.memory_mb:
        return None
    each = at.needs.memory_mb / at.needs.cores
    most, least = one.view.max_rss_mb, one.number("minrss")
    up, down = math.ceil(each * one.cores), math.floor(each * one.cores)
    changes, edits = [], {}
    if most and each > most / one.cores:
        changes.append(f"maxrss of {up} MB: it has {most}")
        edits["maxrss"] = up
    if each < least / one.cores:
        changes.append(f"minrss of {down} MB: it has {least:g}")
        edits["minrss"] = down
    if not changes:
        return None
    distance = max(up - most if "maxrss" in edits else 0, least - down if "minrss" in edits else 0)
    return Remedy(f"{' and '.join(changes)}, for {one.cores} cores", distance, edits=edits)


def reads_directly(one: Candidate) -> bool:
    return bool(one.attributes.get("direct_access_lan"))


def direct_access(at: Situation, one: Candidate) -> Refusal | None:
    if not at.needs.only_direct_access or reads_directly(one):
        return None
    return Remedy(
        "direct_access_lan: the task reads its inputs from the local storage only", edits={"direct_access_lan": True}
    )


def scratch_disk(at: Situation, one: Candidate) -> Refusal | None:
    """`inputDiskCount + max(0.5GB, outDiskCount * nEvents) + workDiskCount`, or nGBPerJob where that is given.

    It must be less than the share of maxwdir that the splitter fills (`scratch_mb`).
    """
    if not one.view.max_wdir_mb:
        return None
    needs = at.needs
    copied = 0.0 if reads_directly(one) and not needs.copies_inputs else needs.input_mb
    need = max(copied + needs.output_mb + needs.work_mb, needs.fixed_mb)
    has = scratch_mb(one.view, needs.cores)
    if has > need:
        return None
    wanted = math.floor(need * one.view.max_wdir_mb / has) + 1
    text = f"maxwdir of {wanted} MB: it has {one.view.max_wdir_mb}, for {one.cores} cores"
    return Remedy(text, wanted - one.view.max_wdir_mb, edits={"maxwdir": wanted})


def long_enough(at: Situation, one: Candidate) -> Refusal | None:
    if at.work is Work.RUN or not one.view.max_time_seconds:
        return None
    need = round(at.numbers(LONG_HOURS) * _HOUR)
    short = need - one.view.max_time_seconds
    if short <= 0:
        return None
    text = f"maxtime of {need} s for {at.work} jobs: it has {one.view.max_time_seconds}"
    return Remedy(text, short, edits={"maxtime": need})


def wall_time(at: Situation, one: Candidate) -> Refusal | None:
    """`cpuTime * nEvents / (C * P * cpuEfficiency) + baseTime`; C are the job's cores, P the queue's power of one."""
    if not one.view.max_time_seconds:
        return None
    needs = at.needs
    power = one.number("corepower") or at.numbers(CORE_POWER)
    expected = needs.cpu_hs06s / (needs.cores * power * needs.efficiency) + needs.base_seconds
    if expected < one.view.max_time_seconds >= needs.max_seconds:
        return None
    need = max(math.floor(expected) + 1, math.ceil(needs.max_seconds))
    text = f"maxtime of {need} s: it has {one.view.max_time_seconds}"
    return Remedy(text, need - one.view.max_time_seconds, edits={"maxtime": need})


#: Which networks of a queue take a task that asks for one.
_TAKES = {"full": {"full", "http", "none", ""}, "http": {"http", "none", ""}, "none": {"none", ""}}


def connectivity(at: Situation, one: Candidate) -> Refusal | None:
    """`network_connectivity#ip_stack` on both sides; a queue that gives no network has all of it."""
    if at.needs.connectivity is None:
        return None
    network, stack = at.needs.connectivity
    has, _, has_stack = str(one.attributes.get("wnconnectivity") or "full#").partition("#")
    takes = _TAKES.get(has.strip().lower() or "full", set())
    if network in takes and stack == has_stack.strip().lower():
        return None
    wanted = f"{network or 'full'}#{stack}"
    text = f"wnconnectivity of {wanted}: it has {has or 'full'}#{has_stack}"
    return Remedy(text, edits={"wnconnectivity": wanted})


def event_service(at: Situation, one: Candidate) -> Refusal | None:
    """`jobseed` of the queue: `es` takes event service only, `std` none of it, `all` both; none is `all`."""
    seed = str(one.attributes.get("jobseed") or "all").lower()
    if seed in ("all", "eshigh") or (seed == "es") == at.needs.event_service:
        return None
    kind = "event service" if at.needs.event_service else "other work than event service"
    return Remedy(f"jobseed=all, to take {kind}", edits={"jobseed": "all"})


def dynamic_events(at: Situation, one: Candidate) -> Refusal | None:
    """Where the number of events is dynamic, the queue says how many a job gets, and that has to be a whole job."""
    least, has = math.ceil(at.needs.dynamic_events), n_sim_events(one.attributes)
    if not least or (has is not None and has >= least):
        return None
    others = {word: value for word, value in _catchall(one).items() if word != SIM_EVENTS}
    words = [f"{word}={value}" if value else word for word, value in {**others, SIM_EVENTS: str(least)}.items()]
    text = f"{SIM_EVENTS}={least} in its catchall: it " + (
        "takes no dynamic numbers of events" if has is None else f"has {has}"
    )
    return Remedy(text, least - (has or 0), edits={"catchall": ",".join(words)})


def _catchall(one: Candidate) -> Mapping[str, str]:
    return catchall_words(str(one.attributes.get("catchall") or ""))
