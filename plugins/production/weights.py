"""How good a queue is, of those that pass: the formulas of manual ch. 12.1, step 3, and 12.1.2, one function each."""

from __future__ import annotations

from ...core.tunables import Numbers, tunable
from ..grid import Amount, Link
from .needs import APP, COMPONENT
from .situation import Candidate, Situation

#: The range of closeness (manual ch. 12.1.2: 0 best to 11 worst).
MIN_CLOSENESS, MAX_CLOSENESS = 0, 11
#: The pieces of the network weight lie between these, as the closeness formula of ch. 12.1.2 does.
WORST, BEST = 1.0, 2.0
#: Of the initial weight (manual ch. 12.1): running + 1, queued + 10.
RUNNING_OFFSET, QUEUED_OFFSET = 1, 10
MANY_ASSIGNED_MIN, MANY_ASSIGNED_MAX = 1.0, 2.0
#: So many missing files halve the weight (manual ch. 12.1: numMissingFiles/100 + 1).
MISSING_FILES_SCALE = 100

NW_QUEUED_FULL = tunable(
    APP,
    COMPONENT,
    "NW_QUEUED_FULL",
    100,
    unit="files",
    source="our choice: the figure of ch. 12.1.2 gives no numbers",
    help="queued on a link from which on its weight is the worst",
)
NW_MBPS_FULL = tunable(
    APP,
    COMPONENT,
    "NW_MBPS_FULL",
    1000.0,
    unit="Mbit/s",
    source="our choice: the figure of ch. 12.1.2 gives no numbers",
    help="throughput of a link from which on its weight is the best",
)


def many_assigned(assigned: int, activated: int) -> float:
    """`max(1, min(2, assigned / activated))`; with none activated the quotient is beyond all bounds."""
    if not activated:
        return MANY_ASSIGNED_MAX if assigned else MANY_ASSIGNED_MIN
    return max(MANY_ASSIGNED_MIN, min(MANY_ASSIGNED_MAX, assigned / activated))


def initial(one: Candidate) -> float:
    """Running jobs against those that wait."""
    queued = one.activated + one.assigned + one.starting + one.defined + QUEUED_OFFSET
    return (one.running + RUNNING_OFFSET) / (queued * many_assigned(one.assigned, one.activated))


def data_availability(total: Amount, available: Amount, missing: Amount) -> float:
    """The factor for inputs that are at the queue already: 1 for all of them, 1/2 and less for none."""
    if not total.size_bytes:
        return 1.0
    share = (available.size_bytes + total.size_bytes) / total.size_bytes
    return share / (missing.n_files / MISSING_FILES_SCALE + 1)


def queued_weight(link: Link | None, numbers: Numbers, activity: str = "") -> float:
    """2 for a link on which nothing waits for an activity, falling in a straight line to 1.

    The manual shows this weight only as a plot without numbers (Fig. 1); the line and its end are our choice.
    """
    if link is None:
        return BEST
    return BEST - min(1.0, link.queued_for(activity) / max(1, numbers(NW_QUEUED_FULL)))


def throughput_weight(link: Link | None, numbers: Numbers) -> float:
    """1 for a link that moves nothing, rising in a straight line to 2; without a measurement the closeness decides.

    The plot (Fig. 2) gives no numbers: the line and its end are our choice. A link of which neither is known counts
    as the farthest.
    """
    if link is not None and link.mbps is not None:
        return WORST + min(1.0, link.mbps / max(1e-9, numbers(NW_MBPS_FULL)))
    closeness = MAX_CLOSENESS if link is None or link.closeness is None else link.closeness
    return 1 + (MAX_CLOSENESS - closeness) / (MAX_CLOSENESS - MIN_CLOSENESS)


def network(at: Situation, one: Candidate) -> float:
    """`0.5 * (queuedWeight + throughputWeight)` of the link to the nucleus; at the nucleus or without one, the best."""
    if one.at_nucleus or at.nucleus_site is None:
        return BEST
    return 0.5 * (queued_weight(one.link, at.numbers, at.activity) + throughput_weight(one.link, at.numbers))


def weight(at: Situation, one: Candidate) -> float:
    """The brokerage weight of a queue: the larger, the better."""
    available = data_availability(at.grid.inputs.total, one.available, one.missing)
    return initial(one) * available * network(at, one)
