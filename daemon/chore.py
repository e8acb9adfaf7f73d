"""Which chores a configuration asks for (manual ch. 11.1.4): checked before anything starts, all faults at once."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..core.errors import BadSettings, Fault
from ..core.nearby import guess
from ..core.settings import DaemonEntry, DaemonSection
from .defaults import COUNTERPARTS, DEFAULT_ENTRIES, NOT_PROVIDED, OUR_PACKAGE, PANDA_PACKAGE


@dataclass(frozen=True)
class Chore:
    """One thing to run over and over. `module` has `build(context, arguments)`, which gives a `Service`."""

    name: str
    module: str
    period_seconds: float
    sync: bool = False
    loop: bool = False
    arguments: tuple[str | int | float | bool, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The chores to run, and the entries that ask for something that is not there: {entry: why}."""

    chores: tuple[Chore, ...]
    not_provided: Mapping[str, str]


def plan(section: DaemonSection) -> Plan:
    """Read the section [daemon]; raises `BadSettings` that names every entry that cannot be run."""
    package = OUR_PACKAGE if section.package == PANDA_PACKAGE else section.package
    chores: list[Chore] = []
    not_provided: dict[str, str] = {}
    faults: list[Fault] = []
    for name, entry in (section.config or DEFAULT_ENTRIES).items():
        script = entry.module or name
        if section.package == PANDA_PACKAGE and script in NOT_PROVIDED:
            if entry.enable:
                not_provided[name] = NOT_PROVIDED[script]
            continue
        modules = COUNTERPARTS.get(script, (script,)) if package == OUR_PACKAGE else (script,)
        found = [_chore(name, entry, package, module, alone=len(modules) == 1) for module in modules]
        entry_faults = [fault for chore in found if (fault := _fault(chore, package))]
        faults += entry_faults
        chores += found if entry.enable and not entry_faults else []
    if faults:
        raise BadSettings("the daemon cannot start", faults)
    return Plan(tuple(chores), not_provided)


def _chore(name: str, entry: DaemonEntry, package: str, module: str, *, alone: bool) -> Chore:
    return Chore(
        name=name if alone else f"{name}.{module}",
        module=f"{package}.{module}",
        period_seconds=entry.period,
        sync=entry.sync,
        loop=entry.loop,
        arguments=entry.arguments,
    )


def _fault(chore: Chore, package: str) -> Fault | None:
    """What keeps the chore from being run, if anything does."""
    where = f"[daemon] config {chore.name}"
    try:
        module = importlib.import_module(chore.module)
    except ImportError as error:
        if error.name != chore.module:
            return Fault(where, f"cannot import {chore.module}: {error}", "correct `package`, or the module itself")
        hint = guess(chore.module.removeprefix(f"{package}."), _modules_of(package))
        return Fault(where, f"there is no module {chore.module}", hint)
    if not callable(getattr(module, "build", None)):
        return Fault(where, f"{chore.module} has no build(context, arguments)", "see docs/daemon.md")
    return _argument_fault(chore, where, getattr(module, "ARGUMENTS", ())) if package == OUR_PACKAGE else None


def _argument_fault(chore: Chore, where: str, known: Collection[object]) -> Fault | None:
    """A chore of ours says in `ARGUMENTS` which arguments it takes."""
    wrong = [str(word) for word in chore.arguments if word not in known]
    if not wrong:
        return None
    if not known:
        return Fault(where, f"{chore.module} takes no arguments", "remove `arguments`")
    hint = guess(wrong[0], map(str, known))
    return Fault(where, f"{chore.module} takes no argument {', '.join(wrong)}", hint)


def _modules_of(package: str) -> list[str]:
    paths: Iterable[str] = importlib.import_module(package).__path__
    names = {module.name for module in pkgutil.iter_modules(paths)}
    return sorted(names | set(COUNTERPARTS) if package == OUR_PACKAGE else names)
