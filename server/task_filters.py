"""The `filters` of a task listing: JSON text of {attribute: value} (client protocol 6.3).

A value is meant as equality; `*` in it stands for anything and `|` separates alternatives. Real regular expressions,
which PanDA's server takes, are refused: a bad one could keep a process busy for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..core.errors import Fault, Invalid
from ..core.panda_names import TASK_COLUMNS
from ..core.states import TaskState
from ..core.validation import guess
from ..sql.selection import Selection
from .task_rows import super_status

IDS = ("jediTaskID", "reqID")
_TEXTS = (
    "status",
    "taskName",
    "userName",
    "vo",
    "prodSourceLabel",
    "workingGroup",
    "processingType",
    "campaign",
    "site",
    "nucleus",
    "cloud",
    "gshare",
    "resource_type",
)
COLUMNS = {name: TASK_COLUMNS[name] for name in _TEXTS}
NAMES = (*IDS, *COLUMNS, "superStatus")
_REGULAR = frozenset("+?\\()[]{}")


def filter_of(
    given: Mapping[str, object], user_name: str | None, *, since: datetime | None, before: int | None = None
) -> Selection:
    """What filters mean: tasks of `user_name`, unless that is None or they name a user. Raises `Invalid`."""
    faults = list(_faults(given))
    if faults:
        raise Invalid("the filters", faults)
    columns: dict[str, list[str]] = {}
    ids: list[int] = []
    for name, value in given.items():
        words = _alternatives(str(value))
        if name in IDS:
            ids += [int(word) for word in words]
        elif name == "superStatus":
            columns["status"] = [state for state in TaskState if super_status(state, None) in words]
        else:
            columns[COLUMNS[name]] = words
    if user_name is not None:
        columns.setdefault("user_name", [user_name])
    return Selection(columns, ids, since, before)


def _faults(given: Mapping[str, object]) -> list[Fault]:
    faults = []
    for name, value in given.items():
        where = f"filters.{name[:80]}"
        if name not in NAMES:
            faults.append(Fault(where, "no such filter", guess(name[:80], NAMES)))
        elif not isinstance(value, str | int) or not _alternatives(str(value)) or len(str(value)) > 1000:
            faults.append(Fault(where, "no text", "give the wanted value"))
        elif name in IDS and not all(_is_id(word) for word in _alternatives(str(value))):
            faults.append(Fault(where, "no task id", "give numbers, with | between them"))
        elif _REGULAR & set(str(value)):
            faults.append(Fault(where, "regular expressions are not taken", "use * for anything and | between values"))
    return faults


def _alternatives(value: str) -> list[str]:
    """The values in `a|b`; the anchors and `.*` that habit puts there mean what they mean in a regular expression."""
    words = (word.removeprefix("^").removesuffix("$").replace(".*", "*") for word in value.split("|"))
    return [word for word in words if word]


def _is_id(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 19
