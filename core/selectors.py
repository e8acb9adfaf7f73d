"""The `modConfig` and `procConfig` lines of panda_jedi.cfg (manual ch. 9.2.3).

`modConfig = vo:label:module:Class[:name], …` says which plugin serves which organisation and activity;
`procConfig = vo:label:n[:name:period_seconds], …` says how many processes do. Empty or `any` means all;
several labels are joined by `|`. Entries may also be separated by `;`, as in the manual's ch. 21.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_ANY = ("", "any")


@dataclass(frozen=True)
class Scope:
    """The organisations and activities that an entry is for; empty sets mean all of them."""

    vos: frozenset[str]
    labels: frozenset[str]

    def covers(self, vo: str, label: str) -> bool:
        return (not self.vos or vo in self.vos) and (not self.labels or label in self.labels)

    @property
    def narrowness(self) -> int:
        """How much the entry restricts: the narrowest entry that covers a task wins."""
        return 2 * bool(self.vos) + bool(self.labels)


@dataclass(frozen=True)
class ModEntry:
    """One plugin of a `modConfig` line."""

    scope: Scope
    module: str
    class_name: str
    name: str = ""

    @property
    def path(self) -> str:
        return f"{self.module}:{self.class_name}"


@dataclass(frozen=True)
class ProcEntry:
    """One group of processes of a `procConfig` line."""

    scope: Scope
    n_processes: int
    name: str = ""
    period_seconds: float | None = None


def parse_mod_config(text: str) -> tuple[ModEntry, ...]:
    """Read a `modConfig` line; raises `ValueError` that says which entry is wrong and how."""
    entries = []
    for entry in _entries(text):
        fields = entry.split(":")
        if len(fields) not in (4, 5) or not fields[2] or not fields[3]:
            raise ValueError(f"{entry!r} is not vo:label:module:Class[:name]")
        vo, label, module, class_name, *name = fields
        label = "" if label.isdigit() else label  # the [ddm] section has a number of processes there
        entries.append(ModEntry(_scope(vo, label), module, class_name, *name))
    return tuple(entries)


def parse_proc_config(text: str) -> tuple[ProcEntry, ...]:
    """Read a `procConfig` line; raises `ValueError` that says which entry is wrong and how."""
    entries = []
    for entry in _entries(text):
        vo, label, n_processes, name, period = ([*entry.split(":"), "", ""])[:5]
        if entry.count(":") < 2 or not n_processes.isdigit() or (period and not _is_number(period)):
            raise ValueError(f"{entry!r} is not vo:label:number[:name:period]")
        entries.append(ProcEntry(_scope(vo, label), int(n_processes), name, float(period) if period else None))
    return tuple(entries)


def best_for(entries: Iterable[ModEntry], vo: str, label: str) -> ModEntry | None:
    """The narrowest entry that covers an organisation and activity; the first of equals."""
    covering = [entry for entry in entries if entry.scope.covers(vo, label)]
    return max(covering, key=lambda entry: entry.scope.narrowness, default=None)


def _entries(text: str) -> list[str]:
    return [entry for entry in "".join(text.split()).replace(";", ",").split(",") if entry]


def _scope(vo: str, label: str) -> Scope:
    vos, labels = (frozenset(word for word in text.split("|") if word not in _ANY) for text in (vo, label))
    return Scope(vos, labels)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
