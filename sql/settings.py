"""Settings that all machines share: PanDA's gdpconfig table (manual ch. 10)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core.clock import Clock
from ..core.errors import BadSettings, Fault
from ..core.tunables import Numbers, tunable
from .engine import reading
from .tables import settings, settings_history

REFRESH_SECONDS = tunable(
    "bamboo",
    "settings",
    "REFRESH_SECONDS",
    10.0,
    unit="s",
    source="our choice: an administrator sees an effect at once, and the database a query now and then",
    help="How long a process keeps the settings that it has read before it reads them again.",
)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number to calculate with")
    return value


_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_KINDS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": lambda text: _finite(float(text)),
    "bool": lambda text: _WORDS[text.strip().lower()],
}


def get_value(tx: sa.Connection, component: str, key: str, app: str, vo: str | None = None, default: Any = None) -> Any:
    """A setting in its type: the organisation's own if there is one, else everybody's, else `default`.

    Raises `BadSettings` when the stored text is not of its stated type.
    """
    statement = sa.select(settings).where(
        settings.c.app == app,
        settings.c.component == component,
        settings.c.key == key,
        settings.c.vo.in_(["", vo or ""]),
    )
    rows = {row.vo: row for row in tx.execute(statement)}
    row = rows.get(vo or "") or rows.get("")
    if row is None:
        return default
    return _parse(f"settings {app}/{component}/{key}", row.type, row.value)


def _parse(where: str, kind: str, text: str) -> Any:
    try:
        return _KINDS[kind](text)
    except (KeyError, ValueError) as error:
        raise BadSettings(
            "a setting in the database", [Fault(where, f"{text!r} is no {kind}", "correct it")]
        ) from error


def numbers(tx: sa.Connection, vo: str | None = None) -> Numbers:
    """All settings of an organisation for algorithms: its own before everybody's.

    A stored text that is not of its stated type is left out, so that one slip of an administrator stops no agent;
    `set_value` lets none in.
    """
    statement = sa.select(settings).where(settings.c.vo.in_(["", vo or ""])).order_by(settings.c.vo)
    changed: dict[tuple[str, str, str], Any] = {}
    for row in tx.execute(statement):
        with contextlib.suppress(BadSettings):
            changed[row.app, row.component, row.key] = _parse("", row.type, row.value)
    return Numbers(changed)


class NumbersCache:
    """The settings of each organisation, as a process knows them: read again when they are `REFRESH_SECONDS` old.

    Calling it gives the `Numbers` of an organisation; what somebody changes takes effect without a restart (manual
    ch. 10). It reads in transactions of its own, so that it can be asked in the middle of any other.
    """

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._kept: dict[str, tuple[datetime, Numbers]] = {}

    def __call__(self, vo: str | None = None) -> Numbers:
        """The numbers of an organisation, or those of everybody."""
        name, now = vo or "", self._clock()
        kept = self._kept.get(name)
        if kept is not None and (now - kept[0]).total_seconds() < kept[1](REFRESH_SECONDS):
            return kept[1]
        with reading(self._engine) as tx:
            read = numbers(tx, name)
        self._kept[name] = (now, read)
        return read


def list_values(tx: sa.Connection) -> list[sa.Row[Any]]:
    """Everything that is set, by name and organisation."""
    return list(tx.execute(sa.select(settings).order_by(*_NAME)))


def history(
    tx: sa.Connection,
    *,
    app: str | None = None,
    component: str | None = None,
    key: str | None = None,
    limit: int = 100,
) -> list[sa.Row[Any]]:
    """Who changed what when, the newest first; `new_value` is null where a setting was taken away."""
    statement = sa.select(settings_history).order_by(settings_history.c.id.desc()).limit(limit)
    for name, word in (("app", app), ("component", component), ("key", key)):
        if word is not None:
            statement = statement.where(settings_history.c[name] == word)
    return list(tx.execute(statement))


_NAME = (settings.c.app, settings.c.component, settings.c.key, settings.c.vo)


def _is(app: str, component: str, key: str, vo: str) -> list[sa.ColumnElement[bool]]:
    return [column == word for column, word in zip(_NAME, (app, component, key, vo), strict=True)]


def set_value(
    tx: sa.Connection,
    component: str,
    key: str,
    app: str,
    value: str,
    *,
    kind: str,
    now: datetime,
    vo: str = "",
    descr: str | None = None,
    by: str = "",
) -> None:
    """Enter or replace a setting, and note who did it; raises `BadSettings` when the value is not of its type.

    Without `descr` the description stays as it is.
    """
    if kind not in _KINDS:
        raise BadSettings("a setting", [Fault("type", f"{kind!r} is no type", f"one of {', '.join(_KINDS)}")])
    _parse(f"settings {app}/{component}/{key}", kind, value)
    where = _is(app, component, key, vo)
    there = sa.select(settings.c.value, settings.c.descr).where(*where).with_for_update()
    values = {"value": value, "type": kind, "modified_at": now}
    old = tx.execute(there).first()
    if old is None and not _enter(tx, {"app": app, "component": component, "key": key, "vo": vo, **values}, descr):
        old = tx.execute(there).first()  # somebody else has entered it just now
    if old is not None:
        told = old.descr if descr is None else descr
        tx.execute(sa.update(settings).where(*where).values(**values, descr=told))
    _note(tx, (app, component, key, vo), old.value if old else None, value, by, now, descr)


def _enter(tx: sa.Connection, row: dict[str, Any], descr: str | None) -> bool:
    """Enter a setting; returns whether it was not there."""
    try:
        with tx.begin_nested():
            tx.execute(sa.insert(settings).values(**row, descr=descr or ""))
    except sa.exc.IntegrityError:
        return False
    return True


def unset_value(
    tx: sa.Connection, component: str, key: str, app: str, *, now: datetime, vo: str = "", by: str = ""
) -> bool:
    """Take a setting away, so that the default holds again; returns whether there was one."""
    where = _is(app, component, key, vo)
    old = tx.execute(sa.select(settings.c.value).where(*where).with_for_update()).first()
    if old is None:
        return False
    tx.execute(sa.delete(settings).where(*where))
    _note(tx, (app, component, key, vo), old.value, None, by, now)
    return True


def _note(
    tx: sa.Connection,
    name: tuple[str, str, str, str],
    old: str | None,
    new: str | None,
    by: str,
    now: datetime,
    descr: str | None = None,
) -> None:
    app, component, key, vo = name
    line = {"app": app, "component": component, "key": key, "vo": vo, "old_value": old, "new_value": new}
    tx.execute(sa.insert(settings_history).values(**line, user_name=by, at=now, descr=descr))
