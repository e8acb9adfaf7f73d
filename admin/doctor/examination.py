"""Looks at all of an installation, group by group: what one group meets does not keep the others from their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from ...core.errors import BadSettings
from ...core.settings import load
from ..database import opened
from ..state import StateFolder
from . import clocks, database, disk, outside, permissions, plugins, tokens, work
from .findings import Check, Finding
from .patient import Measures, Patient

CONFIGURATION = Check("configuration")
GROUPS: tuple[Callable[[Patient], Iterable[Finding]], ...] = (
    database.check,
    clocks.check,
    disk.check,
    permissions.check,
    plugins.check,
    tokens.check,
    outside.check,
    work.check,
)


def examine(
    config_files: tuple[Path, ...],
    environ: Mapping[str, str],
    *,
    db_url: str | None = None,
    state: StateFolder | None = None,
    measures: Measures | None = None,
) -> list[Finding]:
    """Everything that was found, in the order in which it was looked at. Raises nothing of what it finds."""
    try:
        loaded = load(config_files, environ)
    except BadSettings as error:
        do = "the other checks need a configuration: mend this first"
        return [
            *CONFIGURATION.refused("the configuration", error),
            CONFIGURATION.warning("all else", "not looked at", do),
        ]
    files = ", ".join(map(str, config_files)) or "no cfg files"
    findings = [CONFIGURATION.ok(files, f"it can be used; {len(loaded.origins)} values are set")]
    url = db_url or loaded.settings.database.sqlalchemy_url() or (state.sqlite_url if state else "")
    patient = Patient(loaded.settings, url, config_files, environ, state, measures=measures or Measures())
    problems = _unnamed(url) or database.can_be_used(patient)
    findings += problems
    if problems:
        return [*findings, *_all_groups(replace(patient, url="") if _unnamed(url) else patient)]
    with opened(url) as engine:
        return [*findings, *_all_groups(replace(patient, engine=engine))]


def _unnamed(url: str) -> list[Finding]:
    """What is wrong with a URL that cannot even be read."""
    if not url:
        do = "set url in [database] or BAMBOO_DATABASE__URL, or give --db, or --state with the folder of `bamboo up`"
        return [database.CHECK.fault("[database] url", "no database is named", do)]
    try:
        sa.make_url(url)
    except sa.exc.ArgumentError as error:
        do = "it looks like postgresql://user@host/name or sqlite:////path"
        return [database.CHECK.fault("[database] url", str(error), do)]
    return []


def _all_groups(patient: Patient) -> list[Finding]:
    return [finding for group in GROUPS for finding in _of_group(group, patient)]


def _of_group(group: Callable[[Patient], Iterable[Finding]], patient: Patient) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(group(patient))
    except Exception as error:  # noqa: BLE001 - a check that fails is something to be told, like all else
        name = group.__module__.rpartition(".")[2]
        what = f"the check itself failed: {type(error).__name__}: {error}"
        found.append(Check(name).fault(name, what, "if this is not clear from the rest, report it as a bug"))
    return found
