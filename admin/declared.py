"""Every tunable that this installation knows: those of our rooms, and of plugins that announce themselves."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from ..core import tunables
from ..plugins.manager import ENTRY_POINTS

#: The rooms whose modules declare tunables beside their algorithms.
ROOMS = ("sql", "plugins", "jedi", "daemon", "server")
#: Folders of files that are shipped to other machines and run there alone.
SHIPPED = ("plugins.pilot_copytools", "server.transforms", "sql.migrations")

AnyTunable = tunables.Tunable[Any]


def known() -> Mapping[str, AnyTunable]:
    """The tunables by their dotted names, `app.component.KEY`: every module that may declare some is loaded first."""
    package = __name__.rpartition(".admin")[0]
    for room in ROOMS:
        _load(f"{package}.{room}", skip=tuple(f"{package}.{name}" for name in SHIPPED))
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    return {f"{one.app}.{one.component}.{one.key}": one for one in tunables.known()}


def _load(name: str, skip: tuple[str, ...]) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __name__.partition(".")[0]:
            raise
        return  # it needs an extra that is not installed here: nothing of it is at work
    for found in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        if not found.name.startswith(skip) and not found.name.endswith(".__main__"):
            _load(found.name, skip)


def of_name(name: str) -> AnyTunable | None:
    """The tunable that a name stands for; one whose key ends in `_` also stands for all names that begin with it."""
    everything = known()
    if name in everything:
        return everything[name]
    families = [dotted for dotted in everything if dotted.endswith("_") and name.startswith(dotted)]
    return everything[max(families, key=len)] if families else None
