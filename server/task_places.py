"""Whether the queues and sites exist that a task is to run at: told when it is submitted, not when it waits in vain."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

import sqlalchemy as sa

from ..core.errors import Fault, Invalid
from ..core.nearby import guess
from ..core.task_parameters import PREFIX, TaskParameters
from ..sql import queues


def must_exist(tx: sa.Connection, parameters: TaskParameters) -> None:
    """Raise `Invalid` with every queue or site that is asked for and not there, with `*` for any; as prun does."""
    asked = [("site", name.strip()) for name in parameters.site.split(",") if name.strip()]
    asked += [("includedSite", name) for name in parameters.included_site]
    if not asked:
        return
    known = {word for row in queues.list_queues(tx) for word in (row.queue, row.site)}
    if faults := [_unknown(key, name, known) for key, name in asked if not _is_there(name, known)]:
        raise Invalid("the task cannot be run", faults)


def _is_there(name: str, known: Collection[str]) -> bool:
    return any(fnmatchcase(word, name) for word in known)


def _unknown(key: str, name: str, known: Collection[str]) -> Fault:
    do = guess(name, known, "`bamboo queue list` shows what there is") if known else "there are no queues at all yet"
    return Fault(f"{PREFIX}.{key}", f"there is no queue and no site {name[:80]}", do)
