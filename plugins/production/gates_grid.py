"""Gates that look at the state of the grid: queues, links, storages, shares, pilots (manual ch. 12.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from fnmatch import fnmatchcase

from ...core.gates import Gate, Refusal
from ...core.states import JobState
from ...core.tunables import tunable
from ..grid import Work
from . import weights
from .needs import APP, COMPONENT, HIGH_PRIORITY
from .situation import Candidate, Remedy, Situation

Rule = Gate[Situation, Candidate]

INACTIVE_HOURS = tunable(APP, COMPONENT, "INACTIVE_HOURS", 2.0, unit="hours", source="manual ch. 12.1")
NO_PILOT_HOURS = tunable(APP, COMPONENT, "NO_PILOT_HOURS", 3.0, unit="hours", source="manual ch. 12.1")
PASSED_OVER_HOURS = tunable(
    APP, COMPONENT, "MERGE_PASSED_OVER_HOURS", 24.0, unit="hours", source="manual ch. 12.1: merge jobs"
)
NQUEUED_SAT_CAP = tunable(
    APP,
    COMPONENT,
    "NQUEUED_SAT_CAP",
    1000,
    unit="files",
    source="manual ch. 12.1; the number is our choice",
    help="queued on the link from a queue to the nucleus",
)
NQUEUED_NUC_CAP = tunable(
    APP,
    COMPONENT,
    "NQUEUED_NUC_CAP_FOR_JOBS",
    10_000,
    unit="files",
    source="manual ch. 12.1; the number is our choice",
    help="queued to the nucleus over all links",
)
FREE_SPACE_GB = tunable(APP, COMPONENT, "MIN_FREE_SPACE_GB", 200, unit="GB", source="manual ch. 12.1")
TRANSFERRING_LIMIT = tunable(APP, COMPONENT, "TRANSFERRING_LIMIT", 2000, unit="jobs", source="manual ch. 12.1")
TRANSFERRING_RATIO = tunable(
    APP, COMPONENT, "TRANSFERRING_RATIO", 2.0, unit="per running job", source="manual ch. 12.1"
)
NW_THRESHOLD = tunable(
    APP, COMPONENT, "NW_THRESHOLD", 1.5, unit="weight", source="manual ch. 12.1; the number is our choice: half way"
)
NW_WEIGHT_MULTIPLIER = tunable(
    APP, COMPONENT, "NW_WEIGHT_MULTIPLIER", 1.0, unit="factor", source="manual ch. 12.1; the number is our choice"
)
QUEUED_RATIO = tunable(APP, COMPONENT, "QUEUED_RATIO", 2.0, unit="per running job", source="manual ch. 12.1, step 4")
QUEUED_FLOOR = tunable(
    APP,
    COMPONENT,
    "QUEUED_FLOOR",
    0,
    unit="jobs",
    source="manual ch. 12.1, step 4, which has none: 0",
    help="a queue may have so many waiting however few are running",
)
_GB = 1 << 30


# Step 1: preliminary candidates


def is_named(one: Candidate, names: Sequence[str]) -> bool:
    return any(fnmatchcase(word, name) for name in names for word in (one.name, one.view.site))


def pinned(at: Situation) -> tuple[str, ...]:
    """The queues or sites to which the jobs are tied, by the user or because their inputs lie there."""
    tied = at.preassigned if at.preassigned and not _given_up(at) else ()
    return (*at.task.named_sites, *tied)


def _given_up(at: Situation) -> bool:
    """Whether the queues of merge jobs have been passed over for so long that others may have them."""
    since = at.grid.passed_over_since
    hours = at.numbers(PASSED_OVER_HOURS)
    return at.work is Work.MERGE and since is not None and at.grid.now - since > timedelta(hours=hours)


def preassigned(at: Situation, one: Candidate) -> Refusal | None:
    names = pinned(at)
    if not names or is_named(one, names):
        return None
    return Remedy(f"name {one.name} among {', '.join(names[:3])}", edits={"task.site": ",".join([*names, one.name])})


def excluded(at: Situation, one: Candidate) -> Refusal | None:
    names = at.task.split_rule.get("excludedSite") or ()
    return Remedy(f"do not exclude {one.name}", edits={"task.excludedSite": []}) if is_named(one, names) else None


def not_a_test(at: Situation, one: Candidate) -> Refusal | None:
    if "test" not in one.name.lower() or pinned(at):
        return None
    return Remedy(
        "ask for it by name: queues with 'test' in their names get no other work", edits={"task.site": one.name}
    )


def organisation(at: Situation, one: Candidate) -> Refusal | None:
    if one.view.vo in (None, "", at.task.vo):
        return None
    return Remedy(f"open it to {at.task.vo}", edits={"vo": at.task.vo})


# Step 2, in the manual's order


def online(at: Situation, one: Candidate) -> Refusal | None:
    """Pre-assigned queues need not be online; those that are offline would not run anything all the same."""
    status = one.view.status
    up = status == "online" or (bool(pinned(at)) and status in ("test", "brokeroff"))
    if one.view.state != "ACTIVE":
        edits = {"state": "ACTIVE", "status": status if up else "online"}
        return Remedy("set its state to ACTIVE" + ("" if up else " and its status to online"), 2, edits=edits)
    return None if up else Remedy(f"set its status from {status} to online", edits={"status": "online"})


def link_open(at: Situation, one: Candidate) -> Refusal | None:
    if one.link is None or not one.link.blocked:
        return None
    where = f"{one.link.source} -> {one.link.destination}"
    return Remedy(f"open the link {where}: {one.link.blocked}", edits={"link.blocked": None})


def link_queue(at: Situation, one: Candidate) -> Refusal | None:
    cap = at.numbers(NQUEUED_SAT_CAP)
    over = one.link.queued_for(at.activity) - cap if one.link else 0
    if over <= 0:
        return None
    text = f"{over} fewer files queued on its link to {at.nucleus_site} (NQUEUED_SAT_CAP is {cap})"
    return Remedy(text, over, edits={"setting.NQUEUED_SAT_CAP": cap + over})


def nucleus_queue(at: Situation, one: Candidate) -> Refusal | None:
    cap = at.numbers(NQUEUED_NUC_CAP)
    over = at.queued_to_nucleus - cap
    if over <= 0:
        return None
    text = f"{over} fewer files queued to {at.nucleus_site} (NQUEUED_NUC_CAP_FOR_JOBS is {cap})"
    return Remedy(text, over, edits={"setting.NQUEUED_NUC_CAP_FOR_JOBS": cap + over})


def near_nucleus(at: Situation, one: Candidate) -> Refusal | None:
    """Work that many others wait for is not spread; merge jobs stay with their inputs (step 1)."""
    urgent = at.needs.high
    if at.nucleus_site is None or one.at_nucleus or at.work is Work.MERGE or not (urgent or at.work is Work.SCOUT):
        return None
    if at.work is Work.SCOUT:
        return Remedy(f"a place at {at.nucleus_site}: scouts run at the nucleus only", edits={"site": at.nucleus_site})
    limit = at.numbers(HIGH_PRIORITY)
    return Remedy(
        f"a priority below {limit}: from there on jobs run at the nucleus {at.nucleus_site} only",
        at.needs.priority - limit + 1,
        edits={"task.priority": limit - 1},
    )


def active(at: Situation, one: Candidate) -> Refusal | None:
    urgent = at.needs.high or at.work in (Work.SCOUT, Work.MERGE)
    last = one.activity.last_start_at
    if not urgent or last is None or not one.activated:
        return None
    hours = (at.grid.now - last) / timedelta(hours=1)
    limit = at.numbers(INACTIVE_HOURS)
    if hours <= limit:
        return None
    text = f"start one of its {one.activated} activated jobs: it has started none for {hours:.1f} hours"
    return Remedy(text, hours - limit, edits={"last_start_hours_ago": limit})


def has_share(at: Situation, one: Candidate) -> Refusal | None:
    """`fairsharepolicy`: where rules give the shares of types, work that none of them names has none.

    `type=evgen|simul:100%` gives to those types of work only, `type=any:0%` takes from all that are not named before;
    rules on anything else (`group=…`) do not count. The first rule that covers the work decides; without one, work
    has a share unless the rules give 100 % away.
    """
    policy = str(one.attributes.get("fairsharepolicy") or "")
    if "type=" not in policy or shares_of(policy, at.task.processing_type or "", at.task.gshare):
        return None
    kind = at.task.processing_type or "work without a type"
    return Remedy(f"a share for {kind} in its fairsharepolicy {policy[:80]}", edits={"fairsharepolicy": ""})


_TYPE_RULE = re.compile(r"type=([^:;,&]+)(?:[^:;,]*):(\d+)%")


def shares_of(policy: str, processing_type: str, gshare: str) -> bool:
    """Whether a policy leaves something for a type of work."""
    given_away = 0
    for types, percent in _TYPE_RULE.findall(policy):
        names = types.split("|")
        given_away += int(percent)
        if "any" in names or {processing_type, gshare} & set(names):
            return int(percent) > 0
    return given_away < 100


def storage_space(at: Situation, one: Candidate) -> Refusal | None:
    need = at.numbers(FREE_SPACE_GB)
    if one.storage is None or one.storage.free_bytes is None or one.storage.free_bytes > need * _GB:
        return None
    short = need - one.storage.free_bytes / _GB
    text = f"{short:.0f} GB more free in {one.storage.storage}: it needs over {need}"
    return Remedy(text, short, edits={"storage.free_gb": need + 1})


def storage_listed(at: Situation, one: Candidate) -> Refusal | None:
    if one.storage is None:
        if at.task.nucleus or (one.view.storage and not at.grid.storages):  # no storages at all: pilots know them
            return None
        if one.view.storage:
            return Remedy(
                f"enter its storage {one.view.storage}, or set another one", 3, edits={"task.nucleus": "NUCLEUS"}
            )
        return Remedy("a storage for its outputs, or a nucleus for the task", 3, edits={"task.nucleus": "NUCLEUS"})
    reason = one.storage.attributes.get("blacklisted")
    if one.storage.state != "ACTIVE":
        edits = {"storage.state": "ACTIVE", "storage.blacklisted": False}
        also = " and take it off the blacklist" if reason else ""
        return Remedy(f"set {one.storage.storage} to ACTIVE{also}", 2, edits=edits)
    if not reason:
        return None
    said = "" if reason is True else f": {str(reason)[:80]}"
    return Remedy(f"take {one.storage.storage} off the blacklist{said}", edits={"storage.blacklisted": False})


def transferring(at: Situation, one: Candidate) -> Refusal | None:
    jobs = one.view.jobs
    limit = one.number("transferringlimit") or at.numbers(TRANSFERRING_LIMIT)
    most = max(limit, at.numbers(TRANSFERRING_RATIO) * jobs.get(JobState.RUNNING, 0))
    over = jobs.get(JobState.TRANSFERRING, 0) - most
    if over <= 0:
        return None
    text = f"{over:g} fewer transferring jobs (at most {most:g})"
    return Remedy(text, over, edits={"jobs.transferring": int(most)})


def only_nucleus(at: Situation, one: Candidate) -> Refusal | None:
    if not at.needs.at_nucleus_only or at.work is not Work.RUN or at.nucleus_site is None or one.at_nucleus:
        return None
    return Remedy(f"a task without t1Weight=-1, which keeps it at {at.nucleus_site}", edits={"task.t1Weight": 0})


def pilots(at: Situation, one: Candidate) -> Refusal | None:
    last = one.activity.last_pilot_at
    if last is None:
        return None
    hours = (at.grid.now - last) / timedelta(hours=1)
    limit = at.numbers(NO_PILOT_HOURS)
    if hours <= limit:
        return None
    return Remedy(
        f"a pilot: the last one came {hours:.1f} hours ago", hours - limit, edits={"last_pilot_hours_ago": limit}
    )


def network(at: Situation, one: Candidate) -> Refusal | None:
    """Urgent work needs a good way for its outputs: the network weight of step 3 against the threshold."""
    if not at.needs.urgent:
        return None
    need = at.numbers(NW_THRESHOLD) * at.numbers(NW_WEIGHT_MULTIPLIER)
    has = weights.network(at, one)
    if has >= need:
        return None
    text = f"a network weight of {need:.2f} to {at.nucleus_site}: it has {has:.2f}"
    return Remedy(text, need - has, edits={"setting.NW_THRESHOLD": 0.0})


# Step 4


def _crowd(at: Situation, one: Candidate, queued: int, what: str, setting: str) -> Refusal | None:
    most = max(at.numbers(QUEUED_RATIO) * one.running, at.numbers(QUEUED_FLOOR))
    if queued <= most:
        return None
    text = f"{queued - most:g} fewer {what} jobs, for {one.running} running"
    return Remedy(text, queued - most, edits={setting: queued})


def not_crowded(at: Situation, one: Candidate) -> Refusal | None:
    return _crowd(at, one, one.activated + one.starting, "activated and starting", "setting.QUEUED_FLOOR")


def not_full(at: Situation, one: Candidate) -> Refusal | None:
    queued = one.activated + one.starting + one.defined + one.assigned
    return _crowd(at, one, queued, "defined, assigned, activated and starting", "setting.QUEUED_FLOOR")
