"""Users' secrets, which are sealed before they come here: nothing in the database can be read without the key."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .tables import secrets


def of_users(tx: sa.Connection, user_names: Collection[str]) -> list[sa.Row[Any]]:
    """All secrets of some users, in the order of their keys."""
    chosen = secrets.c.user_name.in_(list(user_names))
    return list(tx.execute(sa.select(secrets).where(chosen).order_by(secrets.c.user_name, secrets.c.key)))


def others_size(tx: sa.Connection, user_name: str, key: str) -> int:
    """How many characters the values of a user's other secrets have together."""
    others = sa.and_(secrets.c.user_name == user_name, secrets.c.key != key)
    return int(tx.scalar(sa.select(sa.func.coalesce(sa.func.sum(secrets.c.size), 0)).where(others)) or 0)


def put(tx: sa.Connection, user_name: str, key: str, sealed: str, *, size: int, now: datetime) -> None:
    """Enter a secret, in the place of one of that key."""
    values = {"sealed": sealed, "size": size, "modified_at": now}
    if not _changed(tx, sa.update(secrets).where(_one(user_name, key)).values(values)):
        tx.execute(sa.insert(secrets).values(user_name=user_name, key=key, **values))


def delete(tx: sa.Connection, user_name: str, key: str) -> bool:
    """Forget a secret; returns whether there was one."""
    return _changed(tx, sa.delete(secrets).where(_one(user_name, key))) > 0


def delete_all(tx: sa.Connection, user_name: str) -> int:
    """Forget a user's secrets; returns how many there were."""
    return _changed(tx, sa.delete(secrets).where(secrets.c.user_name == user_name))


def _one(user_name: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(secrets.c.user_name == user_name, secrets.c.key == key)


def _changed(tx: sa.Connection, statement: sa.Update | sa.Delete) -> int:
    return tx.execute(statement).rowcount
