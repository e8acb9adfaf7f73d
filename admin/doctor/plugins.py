"""Plugins, chores and rules: whether everything that the configuration names can be loaded."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from ...core.errors import BambooError
from ...daemon.chore import plan
from ...plugins.manager import Plugins
from ...sql.retry_rules import of_file
from .findings import Check, Finding
from .patient import Patient

CHECK = Check("plugins")


def check(patient: Patient) -> Iterator[Finding]:
    yield from _plugins(patient)
    yield from _chores(patient)
    try:
        of_file(patient.settings.retry.rules_file)
        yield CHECK.ok("[retry] rules_file", "the retry rules can be used")
    except BambooError as error:
        yield from CHECK.refused("[retry] rules_file", error)


def _plugins(patient: Patient) -> Iterator[Finding]:
    # None of them is asked anything: any database will do. The rules are looked at by themselves.
    engine = patient.engine or sa.create_engine("sqlite://")
    settings = patient.settings
    usual_rules = {"retry": settings.retry.model_copy(update={"rules_file": ""})}
    try:
        names = Plugins(settings.model_copy(update=usual_rules), engine, patient.clock).names()
        yield CHECK.ok("modConfig", f"{len(names)} plugins can be loaded")
    except BambooError as error:
        yield from CHECK.refused("modConfig", error)
    except Exception as error:  # noqa: BLE001 - a plugin may do anything while it is loaded
        what = f"a plugin of the entry points cannot be loaded: {type(error).__name__}: {error}"
        yield CHECK.fault("entry points `bamboo.plugins`", what, "correct or uninstall the package that brings it")


def _chores(patient: Patient) -> Iterator[Finding]:
    section = patient.settings.daemon
    try:
        planned = plan(section)
    except BambooError as error:
        yield from CHECK.refused("[daemon] config", error)
        return
    for name, why in planned.not_provided.items():
        yield CHECK.warning(f"[daemon] config {name}", f"there is no such chore here: {why}", "remove the entry")
    if section.enable or patient.state is not None:  # `bamboo up` runs one
        yield CHECK.ok("[daemon] config", f"{len(planned.chores)} chores can be run")
    else:
        what = "the daemon is not enabled here: somewhere one has to be, or no job is ever booked"
        yield CHECK.warning("[daemon] enable", what, "set it to true, unless another machine runs the daemon")
