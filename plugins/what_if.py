"""Changes of a question that are tried out: `bamboo why --if memory=2000`. Nothing is changed but a copy.

The words are those of the scenarios (docs/brokerage.md) and of the changes that gates name. `KEY=VALUE` is a key of the
task, of all queues, or of the brokerage's settings, whichever knows it first; `NOUN.KEY=VALUE` says of what, and
`QUEUE:KEY=VALUE` at which queue alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

from ..core import nearby
from ..core.errors import Fault, Invalid
from ..core.queue_keys import KINDS, slips
from ..core.tunables import known
from ..core.validation import guess
from ..sql.queue_values import COLUMN_OF_KEY
from .contracts import QueueView, StorageView
from .grid import Activity, Link
from .questions import Question
from .what_if_values import fault_of

GB = 1 << 30
#: Components whose numbers brokers read from the snapshot; throttlers ask the database.
SETTINGS_OF = ("jobbroker",)
NOUNS = ("task", "queue", "jobs", "link", "storage", "setting")
#: Keys of a task that are columns of it; all others are split rules under PanDA's names.
TASK_COLUMNS = {
    "priority": "current_priority",
    "processingType": "processing_type",
    "coreCount": "core_count",
    "memory_mb": "ram_count_mb",
    "workDiskCount_mb": "work_disk_count_mb",
    "outDiskCount_kb": "out_disk_count_kb",
    "maxWalltime_seconds": "max_walltime_seconds",
    "vo": "vo",
    "site": "site",
    "nucleus": "nucleus",
    "architecture": "architecture",
    "container": "container_name",
    "share": "gshare",
}
#: What people also call them, after PanDA's options.
TASK_ALSO = {
    "memory": "memory_mb",
    "ramCount": "memory_mb",
    "nCore": "coreCount",
    "cores": "coreCount",
    "workDiskCount": "workDiskCount_mb",
    "outDiskCount": "outDiskCount_kb",
    "maxWalltime": "maxWalltime_seconds",
    "containerImage": "container",
}
TASK_RULES = (
    "includedSite",
    "excludedSite",
    "nFilesPerJob",
    "nGBPerJob",
    "nEventsPerJob",
    "cpuTime",
    "cpuTimeUnit",
    "cpuEfficiency",
    "baseTime",
    "ioIntensity",
    "diskIO",
    "ipConnectivity",
    "t1Weight",
    "allowInputLAN",
    "useLocalIO",
    "transHome",
    "transUses",
    "onlyTagsForFC",
    "eventService",
    "dynamicNumEvents",
    "minGranularity",
)
#: What queues do, by the keys of scenarios.
QUEUE_ACTIVITY = ("last_pilot_hours_ago", "last_start_hours_ago", "batch_workers", "disk_io_kbps_per_core")
LINK = ("closeness", "mbps", "queued_files", "blocked")
STORAGE = ("state", "free_gb", "blacklisted", "nucleus")
_LISTS = ("includedSite", "excludedSite")
_QUEUE_COLUMNS = {one.name for one in fields(QueueView)}


@dataclass(frozen=True)
class Edit:
    """One change: of what (`NOUNS`), which key, to which value, and at which queue alone (empty: at all).

    `typed` is how its user called it.
    """

    noun: str
    key: str
    value: Any
    queue: str = ""
    typed: str = field(default="", compare=False)


def edit_of(what: str, value: Any, queue: str = "") -> Edit:
    """A change as gates name it: `maxrss` is of the queue, `task.priority` of the task; raises `KeyError`."""
    noun, _, key = what.rpartition(".")
    return Edit(noun or "queue", key, value, queue)


def parse(texts: Iterable[str], queues: Collection[str] | None = None) -> list[Edit]:
    """The changes that a user typed; raises `Invalid` with all faults. `queues` are those that there are."""
    found = [_parsed(text) for text in texts]
    edits = [one for one in found if isinstance(one, Edit)]
    faults = [one for one in found if isinstance(one, Fault)]
    faults += [fault for edit in edits for fault in _faults(edit)]
    faults += _missing(edits, queues) if queues is not None else []
    if faults:
        raise Invalid("the changes to try", faults)
    return edits


def _parsed(text: str) -> Edit | Fault:
    what, is_pair, value = text.partition("=")
    if not is_pair or not what:
        return Fault(text, "is no KEY=VALUE", "such as memory=2000, or QUEUE:maxrss=4000")
    queue, _, what = what.rpartition(":")
    noun, _, key = what.rpartition(".")
    if noun and noun not in NOUNS:
        return Fault(text, f"{noun!r} is nothing that can be changed", guess(noun, NOUNS))
    noun = noun or ("queue" if queue else _noun_of(key))
    if not noun:
        return Fault(text, f"{key!r} is not known", guess(key, (*_task_keys(), *_queue_keys(), *_settings())))
    return Edit(noun, TASK_ALSO.get(key, key) if noun == "task" else key, _value(value), queue, key)


def _noun_of(key: str) -> str:
    """What a key without a noun is of."""
    places = {"task": _task_keys(), "queue": _queue_keys(), "setting": _settings()}
    return next((noun for noun, keys in places.items() if key in keys), "")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _task_keys() -> tuple[str, ...]:
    return (*TASK_COLUMNS, *TASK_ALSO, *TASK_RULES)


def _queue_keys() -> tuple[str, ...]:
    return (*COLUMN_OF_KEY, *KINDS, *QUEUE_ACTIVITY)


def _settings() -> dict[str, Any]:
    return {one.key: one for one in known() if one.component in SETTINGS_OF}


def _faults(edit: Edit) -> Iterable[Fault]:
    """What is wrong with a change."""
    keys: Mapping[str, Iterable[str]] = {
        "task": (*TASK_COLUMNS, *TASK_RULES),
        "link": LINK,
        "storage": STORAGE,
        "setting": _settings(),
    }
    name = edit.typed or edit.key
    where = f"{edit.queue}:{name}" if edit.queue else name
    if edit.queue and edit.noun in ("task", "setting"):
        yield Fault(where, f"a {edit.noun} has no queue", f"leave {edit.queue}: out")
    if edit.noun in keys and edit.key not in keys[edit.noun]:
        yield Fault(where, f"is no {edit.noun} key", guess(edit.key, tuple(keys[edit.noun])))
        return
    if edit.noun == "queue" and (near := {} if edit.key in _queue_keys() else slips({edit.key: edit.value})):
        yield Fault(where, "is no key of a queue", f"did you mean {near[edit.key]!r}?")
    setting = _settings()[edit.key] if edit.noun == "setting" else None
    yield from (Fault(where, what, do) for what, do in fault_of(edit.noun, edit.key, edit.value, setting))


def _missing(edits: Iterable[Edit], there: Collection[str]) -> list[Fault]:
    """Queues that changes name and that there are not."""
    names = dict.fromkeys(edit.queue for edit in edits)
    otherwise = "`bamboo queue list` shows what there is"
    return [
        Fault(name, "is no queue", nearby.guess(name, there, otherwise)) for name in names if name not in {"", *there}
    ]


def changed(question: Question, edits: Iterable[Edit]) -> Question:
    """A question with some things otherwise; raises `Invalid` for queues that there are not."""
    some = list(edits)
    missing = _missing(some, {queue.queue for queue in question.queues})
    if missing:
        raise Invalid("the changes to try", missing)
    for edit in some:
        question = _CHANGES[edit.noun](question, edit)
    return replace(question, then=changed(question.then, some)) if question.then is not None else question


def _task(question: Question, edit: Edit) -> Question:
    value = edit.value
    if edit.key in TASK_COLUMNS:
        return replace(question, task=replace(question.task, **{TASK_COLUMNS[edit.key]: value}))
    if edit.key in _LISTS and isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    return replace(question, task=replace(question.task, split_rule={**question.task.split_rule, edit.key: value}))


def _setting(question: Question, edit: Edit) -> Question:
    grid = question.grid
    tunable = _settings()[edit.key]
    return replace(
        question, grid=replace(grid, numbers=grid.numbers.having(tunable, type(tunable.default)(edit.value)))
    )


def _at(question: Question, edit: Edit) -> Sequence[QueueView]:
    return [queue for queue in question.queues if edit.queue in ("", queue.queue)]


def _queue(question: Question, edit: Edit) -> Question:
    if edit.key in QUEUE_ACTIVITY:
        return _activity(question, edit)
    column = COLUMN_OF_KEY.get(edit.key, "")

    def _with(queue: QueueView) -> QueueView:
        if column in _QUEUE_COLUMNS:
            return replace(queue, **{column: edit.value})
        return replace(queue, attributes={**queue.attributes, edit.key: edit.value})

    return _with_queues(question, edit, _with)


def _jobs(question: Question, edit: Edit) -> Question:
    return _with_queues(question, edit, lambda queue: replace(queue, jobs={**queue.jobs, edit.key: int(edit.value)}))


def _with_queues(question: Question, edit: Edit, change: Callable[[QueueView], QueueView]) -> Question:
    """The question with a change of the queues that an edit is about."""
    return replace(question, queues=[change(one) if edit.queue in ("", one.queue) else one for one in question.queues])


def _activity(question: Question, edit: Edit) -> Question:
    grid = question.grid
    if edit.key in ("last_pilot_hours_ago", "last_start_hours_ago"):
        moment = grid.now - timedelta(hours=float(edit.value))
        values: dict[str, Any] = {edit.key.replace("_hours_ago", "_at"): moment}
    elif edit.key == "batch_workers":
        values = {"n_batch_workers": int(edit.value)}
    else:
        values = {edit.key: float(edit.value)}
    new = {one.queue: replace(grid.activity.get(one.queue, Activity()), **values) for one in _at(question, edit)}
    return replace(question, grid=replace(grid, activity={**grid.activity, **new}))


def _link(question: Question, edit: Edit) -> Question:
    grid, nucleus = question.grid, question.task.nucleus
    storage = grid.storages.get(nucleus) if nucleus else None
    if storage is None:
        return question  # without a nucleus no link counts
    ways = {(one.site, storage.site) for one in _at(question, edit) if one.site != storage.site}
    values = {edit.key: edit.value, **({"queued": None} if edit.key == "queued_files" else {})}
    new = {way: replace(grid.links.get(way) or Link(source=way[0], destination=way[1]), **values) for way in ways}
    return replace(question, grid=replace(grid, links={**grid.links, **new}))


def _storage(question: Question, edit: Edit) -> Question:
    grid = question.grid
    names = {one.storage for one in _at(question, edit)} & grid.storages.keys()
    new = {name: _stored(grid.storages[name], edit) for name in names if name is not None}
    return replace(question, grid=replace(grid, storages={**grid.storages, **new}))


def _stored(storage: StorageView, edit: Edit) -> StorageView:
    if edit.key == "state":
        return replace(storage, state=str(edit.value))
    if edit.key == "free_gb":
        return replace(storage, free_bytes=int(edit.value * GB))
    return replace(storage, attributes={**storage.attributes, edit.key: edit.value})


_CHANGES: Mapping[str, Callable[[Question, Edit], Question]] = {
    "task": _task,
    "queue": _queue,
    "jobs": _jobs,
    "link": _link,
    "storage": _storage,
    "setting": _setting,
}
