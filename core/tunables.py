"""Numbers in algorithms: each has a name, a unit, a default and a source, and can be changed in the database.

An algorithm declares a `Tunable` beside its code and reads it from the `Numbers` that it is given. `Numbers()` has the
defaults; `sql.settings.numbers` fills in what the table of settings says for an organisation (manual ch. 10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T", int, float, str, bool)

#: How the table of settings calls the types.
KINDS: Mapping[type, str] = {int: "int", float: "float", str: "str", bool: "bool"}
#: No number is larger: columns of databases hold it, and so many hours or days still are in the calendar (below).
MOST = 2**31 - 1
#: A century in the units of time, by the names that tunables have for them.
_CENTURY_DAYS = 36_525
_CENTURY = {
    "days": _CENTURY_DAYS,
    "hours": _CENTURY_DAYS * 24,
    "h": _CENTURY_DAYS * 24,
    "minutes": _CENTURY_DAYS * 24 * 60,
}
#: The only unit that goes below zero.
_SIGNED = "priority"


@dataclass(frozen=True)
class Tunable(Generic[T]):
    """One number (or word) of an algorithm. `key` may end in `_`, when one is read for each activity or share."""

    app: str
    component: str
    key: str
    default: T
    unit: str
    source: str  #: the manual's chapter, or why this value
    help: str = ""
    least: float = 0  #: what algorithms divide by has more here
    most: float = MOST  #: what would grow without end has less here

    @property
    def kind(self) -> str:
        return KINDS[type(self.default)]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the largest number that algorithms can calculate with; None for words."""
        if isinstance(self.default, bool | str):
            return None
        return (-MOST if self.unit == _SIGNED else self.least), min(self.most, _CENTURY.get(self.unit, MOST))


@dataclass(frozen=True)
class Numbers:
    """The values of tunables for one organisation, at one moment: {(app, component, key): value}."""

    changed: Mapping[tuple[str, str, str], int | float | str | bool] = field(default_factory=dict)

    def __call__(self, tunable: Tunable[T], suffix: str = "") -> T:
        """The value of a tunable: the one for `suffix` if there is one, else the general one, else the default."""
        for key in ([tunable.key + suffix] if suffix else []) + [tunable.key]:
            value = self.changed.get((tunable.app, tunable.component, key))
            if value is not None:
                return type(tunable.default)(_within(tunable.bounds, value))
        return tunable.default

    def having(self, tunable: Tunable[T], value: T, suffix: str = "") -> Numbers:
        """These numbers with one of them changed."""
        return Numbers({**self.changed, (tunable.app, tunable.component, tunable.key + suffix): value})


def _within(bounds: tuple[float, float] | None, value: Any) -> Any:
    """The value, or the bound that it is beyond: one slip of an administrator stops no agent."""
    return value if bounds is None else max(bounds[0], min(value, bounds[1]))


_KNOWN: dict[tuple[str, str, str], Tunable[int] | Tunable[float] | Tunable[str] | Tunable[bool]] = {}


def tunable(
    app: str,
    component: str,
    key: str,
    default: T,
    *,
    unit: str,
    source: str,
    help: str = "",
    least: float = 0,
    most: float = MOST,
) -> Tunable[T]:
    """Declare a tunable, once for each key, so that it can be listed, checked and changed by its name."""
    declared = Tunable(app, component, key, default, unit, source, help, least, most)
    if (app, component, key) in _KNOWN:
        raise ValueError(f"the tunable {app}/{component}/{key} is declared twice")
    _KNOWN[app, component, key] = declared
    return declared


def known() -> Iterable[Tunable[int] | Tunable[float] | Tunable[str] | Tunable[bool]]:
    """All tunables of the modules that are loaded, by name."""
    return [_KNOWN[name] for name in sorted(_KNOWN)]
