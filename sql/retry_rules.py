"""Rules of the job retry module in the database: PanDA's tables RETRYACTIONS and RETRYERRORS (manual ch. 20)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..core.errors import Invalid
from ..core.retry_rules import Rule, parse_rule, read_rules
from .audit import Things
from .tables import retry_actions, retry_errors

log = logging.getLogger(__name__)

#: The rules that are shipped.
SHIPPED_FILE = Path(__file__).parents[1] / "configs" / "retry_rules.toml"
SHIPPED = "shipped"
#: Columns of `retry_errors` that have other names than the keys of a rule.
_COLUMNS = {"source": "error_source", "code": "error_code", "message": "error_diag"}


def of_file(path: str = "") -> list[Rule]:
    """The rules of a file, or of the one that is shipped; raises `Invalid`."""
    return read_rules(Path(path)) if path else [replace(rule, origin=SHIPPED) for rule in read_rules(SHIPPED_FILE)]


def list_rules(tx: sa.Connection) -> list[Rule]:
    """The rules of the database by name. Those of an action that is not active are passive.

    A row that makes no sense is passed over with a warning: one slip of an administrator stops no adder.
    """
    statement = (
        sa.select(retry_errors, retry_actions.c.name.label("action"), retry_actions.c.active.label("action_active"))
        .join(retry_actions, retry_actions.c.retryaction_id == retry_errors.c.retryaction_id)
        .order_by(retry_errors.c.name)
    )
    rules = []
    for row in tx.execute(statement):
        try:
            rules.append(parse_rule(_keys(row), origin=f"database, by {row.user_name}"))
        except Invalid as error:
            log.warning("retry rule is passed over", extra={"event": "retry_rule_bad", "why": str(error)})
    return rules


def things(tx: sa.Connection) -> Things:
    """The rules of the database as they are, to record how they change."""
    shown = [column for column in retry_errors.c if column.name not in ("modified_at", "user_name")]
    statement = sa.select(*shown, retry_actions.c.name.label("action")).join(
        retry_actions, retry_actions.c.retryaction_id == retry_errors.c.retryaction_id
    )
    return {("retry rule", row.name): dict(row._mapping) for row in tx.execute(statement)}


def _keys(row: Any) -> Mapping[str, Any]:
    same = ("name", "action", "parameters", "architecture", "release", "work_queue", "description")
    keys = {key: row._mapping[key] for key in same}
    return {
        **keys,
        **{key: row._mapping[column] for key, column in _COLUMNS.items()},
        "active": row.active and row.action_active,
    }


def put_rule(tx: sa.Connection, rule: Rule, *, by: str, now: datetime) -> None:
    """Enter a rule, or replace the one of its name. An action that the database does not know yet is registered."""
    message = rule.message.pattern if rule.message else None
    values = {
        "retryaction_id": _action_id(tx, rule.action),
        "error_source": rule.source,
        "error_code": rule.code,
        "error_diag": message,
        "parameters": dict(rule.parameters),
        "active": rule.active,
        "architecture": rule.architecture,
        "release": rule.release,
        "work_queue": rule.work_queue,
        "description": rule.description,
        "user_name": by,
        "modified_at": now,
    }
    replaced = sa.update(retry_errors).where(retry_errors.c.name == rule.name).values(**values)
    if tx.execute(replaced).rowcount == 0:
        tx.execute(sa.insert(retry_errors).values(name=rule.name, **values))


def remove_rule(tx: sa.Connection, name: str) -> bool:
    """Take a rule out of the database; returns whether there was one."""
    return tx.execute(sa.delete(retry_errors).where(retry_errors.c.name == name)).rowcount == 1


def _action_id(tx: sa.Connection, name: str) -> int:
    found = tx.scalar(sa.select(retry_actions.c.retryaction_id).where(retry_actions.c.name == name))
    if found is not None:
        return int(found)
    made = tx.execute(sa.insert(retry_actions).values(name=name).returning(retry_actions.c.retryaction_id))
    return int(made.scalar_one())
