"""Production job brokerage: the flow of manual ch. 12.1, gate by gate, in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...core.gates import Gate, Passage, pass_through
from ...core.tunables import tunable
from ..choices import choice_of
from ..contracts import Choice, QueueView, TaskView
from ..grid import Grid
from ..hookspecs import hookimpl
from . import gates_grid as grid_gates
from . import gates_job as job_gates
from . import weights as weighing
from .needs import APP, COMPONENT
from .pseudo_queues import has_pseudo_queue, name_of
from .situation import Candidate, Situation, candidate_of

BEST = tunable(APP, COMPONENT, "MAX_QUEUES", 10, unit="queues", source="manual ch. 12.1, step 5: the best ten")
PENDING_HOURS = tunable(APP, COMPONENT, "PENDING_HOURS", 1.0, unit="hours", source="manual ch. 12.1, step 5")

_1, _2, _4 = "manual ch. 12.1, step 1", "manual ch. 12.1, step 2", "manual ch. 12.1, step 4"

#: Steps 1 and 2. What is ours: the user's exclusions and the organisation, which PanDA settles before its brokerage.
GATES: tuple[Gate[Situation, Candidate], ...] = (
    Gate("pre-assigned", grid_gates.preassigned, _1),
    Gate("excluded", grid_gates.excluded, "prun --excludedSite"),
    Gate("test queue", grid_gates.not_a_test, _1),
    Gate("organisation", grid_gates.organisation, "queues of one VO serve that VO"),
    Gate("pseudo-queue", has_pseudo_queue, _1),
    Gate("status", grid_gates.online, _2),
    Gate("link blocked", grid_gates.link_open, _2),
    Gate("link queue", grid_gates.link_queue, _2),
    Gate("nucleus queue", grid_gates.nucleus_queue, _2),
    Gate("nucleus for urgent work", grid_gates.near_nucleus, _2),
    Gate("inactive", grid_gates.active, _2),
    Gate("zero share", grid_gates.has_share, _2),
    Gate("inputs to move", job_gates.input_to_move, _2),
    Gate("disk I/O", job_gates.disk_io, _2),
    Gate("cores", job_gates.cores, _2),
    Gate("software", job_gates.release, "manual ch. 12.1.1"),
    Gate("memory", job_gates.memory, _2),
    Gate("direct access", job_gates.direct_access, _2),
    Gate("scratch disk", job_gates.scratch_disk, _2),
    Gate("storage space", grid_gates.storage_space, _2),
    Gate("storage", grid_gates.storage_listed, _2),
    Gate("long enough", job_gates.long_enough, _2),
    Gate("wall time", job_gates.wall_time, _2),
    Gate("connectivity", job_gates.connectivity, _2),
    Gate("event service", job_gates.event_service, _2),
    Gate("dynamic events", job_gates.dynamic_events, _2),
    Gate("transferring", grid_gates.transferring, _2),
    Gate("nucleus only", grid_gates.only_nucleus, _2),
    Gate("pilots", grid_gates.pilots, _2),
    Gate("network", grid_gates.network, _2),
    Gate("crowded", grid_gates.not_crowded, _4),
    Gate("full", grid_gates.not_full, _4),
)


@dataclass(frozen=True)
class Brokered:
    """What came of a round: who passed, with their weights, the heaviest first, and what unified ones stand for."""

    passage: Passage[Candidate]
    ranked: Sequence[tuple[str, float]]
    pseudo_queues: Mapping[str, str]


def broker(task: TaskView, queues: Sequence[QueueView], grid: Grid) -> Brokered:
    """Choose among queues: a function of the snapshot alone, whatever the order of the queues.

    The filters of step 4 need no weights, so they stand among the gates; equal weights go by name.
    """
    at = Situation.of(task, grid)
    passage = pass_through(GATES, at, [candidate_of(at, queue) for queue in queues], _name)
    ranked = [(one.name, weighing.weight(at, one)) for one in passage.left]
    pseudo = {one.name: name for one in passage.left if (name := name_of(at, one))}
    return Brokered(passage, sorted(ranked, key=lambda pair: (-pair[1], pair[0])), pseudo)


def _name(one: Candidate) -> str:
    return one.name


class ProductionJobBroker:
    """The plugin: gates, weights, the best ten; a task for which nothing is left waits for an hour."""

    @hookimpl
    def choose_queue(self, task: TaskView, queues: Sequence[QueueView], grid: Grid) -> Choice | None:
        brokered = broker(task, queues, grid)
        best = brokered.ranked[: grid.numbers(BEST)]
        weights = {name: round(value, 4) for name, value in best}
        names = [name for name, _ in best]
        pseudo = {name: brokered.pseudo_queues[name] for name in names if name in brokered.pseudo_queues}
        return choice_of(brokered.passage, names, weights, grid.numbers(PENDING_HOURS) * 3600, pseudo)
