"""Tags of tasks and jobs: global share, resource type, work queue (manual ch. 14.2, 2.11 and 5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import Fault, Invalid
from .patterns import ATTRIBUTES, bad_patterns, fits
from .shares import UNDEFINED, Tree

#: What a work queue may look at beside the attributes: the tags that were given before.
QUEUE_CRITERIA = (*ATTRIBUTES, "gshare", "resource_type")
#: In a work queue's type or organisation: every one.
ANY = "any"


@dataclass(frozen=True)
class ResourceType:
    """A kind of jobs by cores and memory (MB per core); None is no limit. Limits are inclusive."""

    resource_name: str
    min_core: int = 1
    max_core: int | None = None
    min_ram_per_core_mb: int = 0
    max_ram_per_core_mb: int | None = None

    def holds(self, cores: int, ram_per_core_mb: int) -> bool:
        return (
            self.min_core <= cores
            and (self.max_core is None or cores <= self.max_core)
            and self.min_ram_per_core_mb <= ram_per_core_mb
            and (self.max_ram_per_core_mb is None or ram_per_core_mb <= self.max_ram_per_core_mb)
        )

    @property
    def narrowness(self) -> tuple[int, int, int, str]:
        """Sorts the type that says most to the front."""
        limits = (self.max_core, self.max_ram_per_core_mb)
        return (-self.min_ram_per_core_mb, -self.min_core, sum(limit is None for limit in limits), self.resource_name)


@dataclass(frozen=True)
class WorkQueue:
    """A pipe of work within JEDI. `queue_type` is the activity (production source label) or `any`."""

    queue_id: int
    queue_name: str
    queue_type: str
    vo: str
    queue_function: str = "Resource"
    criteria: Mapping[str, str] = field(default_factory=dict)  #: regular expressions by `QUEUE_CRITERIA`


def share_of(tree: Tree, work: Mapping[str, str | None]) -> str:
    """The leaf that takes this work: the first, by `match_order`, whose expressions and those above it all match.

    `work` has the attributes of a task (`ATTRIBUTES`). Of leaves with the same order, the one that says more is tried
    first. Work that no leaf takes is `Undefined`. The manual (ch. 14.2) leaves open how expressions of one level and
    another go together: here a branch's hold for all under it.
    """
    for leaf in sorted(tree.leaves, key=lambda name: _turn(tree, name)):
        if all(fits(share.patterns, work) for share in tree.path(leaf)):
            return leaf
    return UNDEFINED


def _turn(tree: Tree, leaf: str) -> tuple[int, int, str]:
    return (tree.shares[leaf].match_order, -sum(len(share.patterns) for share in tree.path(leaf)), leaf)


def resource_type_of(types: Iterable[ResourceType], cores: int, ram_mb: int) -> str:
    """The name of the narrowest type that holds such a job; `Undefined` when none does."""
    found = narrowest(types, cores, ram_mb)
    return found.resource_name if found else UNDEFINED


def narrowest(types: Iterable[ResourceType], cores: int, ram_mb: int) -> ResourceType | None:
    """The narrowest type that holds a job of so many cores and so much memory in all; None when none does.

    A job that does not say its memory (0) counts as one that needs little.
    """
    cores = max(1, cores)
    holding = [one for one in types if one.holds(cores, -(-ram_mb // cores))]
    return min(holding, key=lambda one: one.narrowness, default=None)


def work_queue_of(queues: Iterable[WorkQueue], work: Mapping[str, str | None]) -> int | None:
    """The id of the first work queue, by id, of the organisation and activity whose criteria match; None for none."""
    for queue in sorted(queues, key=lambda queue: queue.queue_id):
        if (
            queue.vo in (ANY, work.get("vo"))
            and queue.queue_type in (ANY, work.get("prod_source_label"))
            and fits(queue.criteria, work)
        ):
            return queue.queue_id
    return None


def check_resource_types(types: Sequence[ResourceType]) -> None:
    """Raise `Invalid` with all that is wrong with the types. The catch-all of ch. 5.5.4 has to be there."""
    faults = list(_repeated("resource type", [one.resource_name for one in types]))
    for one in types:
        where = f"resource type {one.resource_name}"
        if not 0 < len(one.resource_name) <= 32:
            faults.append(Fault(where, "is no name", "use up to 32 letters"))
        if one.min_core < 1 or (one.max_core is not None and one.max_core < one.min_core):
            faults.append(Fault(where, "holds no number of cores", "1 <= min_core <= max_core"))
        most = one.max_ram_per_core_mb
        if one.min_ram_per_core_mb < 0 or (most is not None and most < one.min_ram_per_core_mb):
            faults.append(Fault(where, "holds no memory", "0 <= min_ram_per_core_mb <= max_ram_per_core_mb"))
    if not any(one.resource_name == UNDEFINED for one in types):
        faults.append(Fault("resource types", f"{UNDEFINED} is missing", "keep the one that takes what no other does"))
    if faults:
        raise Invalid("the resource types", faults)


def check_work_queues(queues: Sequence[WorkQueue]) -> None:
    """Raise `Invalid` with all that is wrong with the work queues."""
    faults = [
        *_repeated("work queue", [str(queue.queue_id) for queue in queues]),
        *_repeated("work queue", [queue.queue_name for queue in queues]),
    ]
    for queue in queues:
        if not 0 < len(queue.queue_name) <= 64:
            faults.append(Fault(f"work queue {queue.queue_id}", f"{queue.queue_name!r} is no name", "up to 64 letters"))
        faults += bad_patterns(f"work queue {queue.queue_name}", queue.criteria, QUEUE_CRITERIA)
    if faults:
        raise Invalid("the work queues", faults)


def _repeated(noun: str, names: Sequence[str]) -> Iterable[Fault]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Fault(f"{noun} {name}", f"is there {names.count(name)} times", "keep one")
