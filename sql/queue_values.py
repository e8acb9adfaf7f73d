"""What the attributes of a queue are: made of what was imported and of what was set by hand. No statements here.

The rule, for each key of the queue's document: the value set by hand, else the imported one, else the default. A queue
that has vanished from the imported documents is `offline`, unless its status was set by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from .tables import queues

#: Keys of PanDA's queue document (panda-pilot.md 4.1) that are columns here; all others are kept as they are.
COLUMN_OF_KEY = {
    "site": "site",
    "vo": "vo",
    "status": "status",
    "state": "state",
    "type": "type",
    "corecount": "core_count",
    "maxrss": "max_rss_mb",
    "maxwdir": "max_wdir_mb",
    "maxtime": "max_time_seconds",
    "timefloor": "time_floor_minutes",
    "storage": "storage",
}


def _default(column: str) -> Any:
    """What a column holds when nobody says anything."""
    given = queues.c[column].server_default
    if not isinstance(given, sa.DefaultClause):
        return None
    text = str(given.arg)
    return int(text) if isinstance(queues.c[column].type, sa.Integer) else text


#: Defaults by key; a queue without a site is a site of its own name.
DEFAULTS: Mapping[str, Any] = {key: _default(column) for key, column in COLUMN_OF_KEY.items() if key != "site"}
#: Keys that CRIC's documents have under other names, the best first. `site` there is a group of sites.
IMPORTED_AS: Mapping[str, tuple[str, ...]] = {"site": ("atlas_site", "site", "gstat"), "vo": ("vo", "vo_name")}
#: Attributes that the manual spells otherwise than CRIC's documents do; brokers read the manual's spelling.
ALSO_AS: Mapping[str, str] = {"maxDiskIO": "maxdiskio"}
#: Which of a queue's storages takes outputs, by activity, the best first.
WRITING = ("pw", "write_lan", "default")


@dataclass(frozen=True)
class Value:
    """A value of a queue's document and where it is from, in words."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Layers:
    """What the values of a queue are made of."""

    queue: str
    imported: Mapping[str, Any] | None
    overrides: Mapping[str, Any]
    vanished: bool = False

    @classmethod
    def of_row(cls, row: sa.Row[Any]) -> Layers:
        """Those of a row. One that was written before there were imports counts as set by hand."""
        overrides = row.overrides
        if overrides is None:
            overrides = _as_set_by_hand(row) if row.imported is None else {}
        return cls(row.queue, row.imported, overrides, row.vanished_at is not None)

    def columns(self) -> dict[str, Any]:
        """The columns of the row that hold values."""
        found = self.values()
        columns = {column: found[key].value for key, column in COLUMN_OF_KEY.items()}
        return {**columns, "attributes": {key: one.value for key, one in found.items() if key not in COLUMN_OF_KEY}}

    def plain(self) -> dict[str, Any]:
        """Every key with its value."""
        return {key: one.value for key, one in self.values().items()}

    def values(self) -> dict[str, Value]:
        """Every key with its value and origin."""
        found = {key: self._column_value(key) for key in COLUMN_OF_KEY}
        imported = self.imported or {}
        for key in {**imported, **self.overrides}:
            if key not in COLUMN_OF_KEY:
                given = self.overrides if key in self.overrides else imported
                found[key] = Value(given[key], self._by_hand(key, imported) if given is self.overrides else "imported")
        for name, key in ALSO_AS.items():
            if name not in found and key in found:
                found[name] = replace(found[key], origin=f"{found[key].origin} ({key})")
        return found

    def _column_value(self, key: str) -> Value:
        given = self._imported_value(key)
        if key in self.overrides:
            return Value(self.overrides[key], self._by_hand(key, {key: given.value} if given else {}))
        if key == "status" and self.vanished:
            return Value("offline", "the queue has vanished from the imported documents")
        return given or Value(self.queue if key == "site" else DEFAULTS[key], "default")

    def _imported_value(self, key: str) -> Value | None:
        imported = self.imported or {}
        for name in IMPORTED_AS.get(key, (key,)):
            if imported.get(name) not in (None, ""):
                return Value(imported[name], "imported" if name == key else f"imported ({name})")
        if key == "storage":
            by_activity = imported.get("astorages") or {}
            names = [one for activity in WRITING for one in by_activity.get(activity, ())]
            return Value(names[0], "imported (astorages)") if names else None
        return None

    def _by_hand(self, key: str, imported: Mapping[str, Any]) -> str:
        return f"set by hand (imported: {imported[key]!r})" if key in imported else "set by hand"


def _as_set_by_hand(row: sa.Row[Any]) -> dict[str, Any]:
    """The keys of a row that differ from the defaults, or that have none."""
    columns = {key: getattr(row, column) for key, column in COLUMN_OF_KEY.items()}
    changed = {key: value for key, value in columns.items() if key not in DEFAULTS or value != DEFAULTS[key]}
    return {**changed, **row.attributes}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries in which two documents differ: those of the first, and those of the second."""
    keys: Iterable[str] = sorted({*before, *after})
    changed = [key for key in keys if (key in before) != (key in after) or before.get(key) != after.get(key)]
    return {key: before[key] for key in changed if key in before}, {key: after[key] for key in changed if key in after}
