"""Production task brokerage: the nucleus of a task by free space, locality of its inputs, and backlog.

The manual names the purpose (ch. 7.1.2) and gives no formula; this one is ours:

    weight = (localBytes + totalBytes) / totalBytes x freeGB / (1 + backlogFiles / NUCLEUS_BACKLOG_SCALE)

so that a nucleus that has all inputs counts twice, twice the free space twice, and NUCLEUS_BACKLOG_SCALE files that
wait to be processed for it half.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.gates import Gate, Refusal, pass_through
from ...core.tunables import tunable
from ..choices import choice_of
from ..contracts import Choice, StorageView, TaskView
from ..grid import Amount, Grid
from ..hookspecs import hookimpl
from .needs import APP, KB_PER_MB, MB_PER_GB
from .situation import Remedy

_COMPONENT = "taskbroker"
_GB = 1 << 30
FREE_SPACE_GB = tunable(
    APP,
    _COMPONENT,
    "MIN_FREE_SPACE_GB",
    200,
    unit="GB",
    source="manual ch. 12.1: the local storage of a queue",
    help="that must be free beside the outputs that the task is expected to make",
)
BACKLOG_CAP = tunable(
    APP,
    _COMPONENT,
    "NUCLEUS_BACKLOG_CAP",
    1_000_000,
    unit="files",
    source="our choice",
    help="inputs that tasks with this nucleus still have to process",
)
BACKLOG_SCALE = tunable(APP, _COMPONENT, "NUCLEUS_BACKLOG_SCALE", 10_000, unit="files", source="our choice", least=1)
UNKNOWN_FREE_GB = tunable(
    APP, _COMPONENT, "UNKNOWN_FREE_GB", 1.0, unit="GB", source="our choice: storages that do not say come last"
)
Situation = tuple[TaskView, Grid]


def serves(at: Situation, one: StorageView) -> Refusal | None:
    """Storages serve as a nucleus unless they say `nucleus: false`."""
    return None if one.attributes.get("nucleus", True) else Remedy("nucleus=true", edits={"storage.nucleus": True})


def active(at: Situation, one: StorageView) -> Refusal | None:
    return (
        None if one.state == "ACTIVE" else Remedy(f"state ACTIVE: it is {one.state}", edits={"storage.state": "ACTIVE"})
    )


def open_for_writing(at: Situation, one: StorageView) -> Refusal | None:
    reason = one.attributes.get("blacklisted")
    if not reason:
        return None
    said = "" if reason is True else f": {str(reason)[:80]}"
    return Remedy(f"take it off the blacklist{said}", edits={"storage.blacklisted": False})


def has_space(at: Situation, one: StorageView) -> Refusal | None:
    task, grid = at
    if one.free_bytes is None:
        return None
    need = grid.numbers(FREE_SPACE_GB) + expected_gb(task, grid)
    short = need - one.free_bytes / _GB
    return None if short < 0 else Remedy(f"{short:.0f} GB more free", short, edits={"storage.free_gb": need + 1})


def not_swamped(at: Situation, one: StorageView) -> Refusal | None:
    _, grid = at
    cap = grid.numbers(BACKLOG_CAP)
    over = grid.backlog_files.get(one.storage, 0) - cap
    if over <= 0:
        return None
    text = f"{over} fewer inputs to process for it (NUCLEUS_BACKLOG_CAP is {cap})"
    return Remedy(text, over, edits={"setting.NUCLEUS_BACKLOG_CAP": cap + over})


GATES: tuple[Gate[Situation, StorageView], ...] = (
    Gate("nucleus", serves),
    Gate("storage", active),
    Gate("blacklisted", open_for_writing),
    Gate("space", has_space),
    Gate("backlog", not_swamped),
)


def expected_gb(task: TaskView, grid: Grid) -> float:
    """The outputs that the inputs at hand will give, at outDiskCount for each event or file (ch. 13)."""
    events = grid.inputs.n_events or grid.inputs.total.n_files
    return task.out_disk_count_kb * events / KB_PER_MB / MB_PER_GB


def weight(grid: Grid, one: StorageView) -> float:
    """The larger, the better: the formula above."""
    total = grid.inputs.total.size_bytes
    local = grid.inputs.at_sites.get(one.site, Amount()).size_bytes
    locality = (local + total) / total if total else 1.0
    free = grid.numbers(UNKNOWN_FREE_GB) if one.free_bytes is None else one.free_bytes / _GB
    return locality * free / (1 + grid.backlog_files.get(one.storage, 0) / grid.numbers(BACKLOG_SCALE))


class ProductionTaskBroker:
    """The plugin: gates, then the heaviest nucleus."""

    @hookimpl
    def choose_nucleus(self, task: TaskView, storages: Sequence[StorageView], grid: Grid) -> Choice | None:
        passage = pass_through(GATES, (task, grid), storages, lambda one: one.storage)
        weights = {one.storage: weight(grid, one) for one in passage.left}
        return choice_of(passage, sorted(weights, key=lambda name: (-weights[name], name)), weights)
