"""What the system keeps for itself and for users: settings, leases, sandboxes, secrets."""

from __future__ import annotations

import sqlalchemy as sa

from ..types import Json, LongText
from .base import count, metadata, moment, numbered, updated_often, word

settings = sa.Table(
    "settings",
    metadata,
    word("app", primary_key=True),  # PanDA's gdpconfig: manual ch. 10
    word("component", primary_key=True),
    word("key", 128, primary_key=True),
    word("vo", primary_key=True),
    word("value", 1024, nullable=False),
    word("type", 20, nullable=False, server_default="str"),
    word("descr", 512),
    moment("modified_at", nullable=False),
)

settings_history = sa.Table(
    "settings_history",
    metadata,
    numbered("id"),
    word("app", nullable=False),
    word("component", nullable=False),
    word("key", 128, nullable=False),
    word("vo", nullable=False),
    word("old_value", 1024),  # null: it was not set before
    word("new_value", 1024),  # null: it was taken away
    word("user_name", 128, nullable=False),
    moment("at", nullable=False),
    word("descr", 512),  # why, where somebody said it
    sa.Index(None, "app", "component", "key", "id"),
)

leases = sa.Table(
    "leases",
    metadata,
    word("name", 128, primary_key=True),
    word("owner", 128),
    moment("until"),
    count("term"),  # grows with every change of owner: the fence
    moment("last_run_at"),  # when its work was last begun, for work with a period (manual ch. 11.1.4)
    postgresql_with=updated_often(fillfactor=50),  # each transaction of a chore renews its own
)

#: The last round of each agent and chore on each machine.
service_rounds = sa.Table(
    "service_rounds",
    metadata,
    word("service", 64, primary_key=True),  # such as jedi/task_refiner, daemon/adder
    word("host", 128, primary_key=True),
    moment("began_at", nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("period_seconds", sa.Float, nullable=False),  # how long it waits after a round that found nothing
    moment("worked_at"),  # when a round last found something to do
    count("failures"),  # rounds in a row that failed, the last one among them
    sa.Column("error", LongText),  # why the last one failed
    moment("told_at", nullable=False),
    postgresql_with=updated_often(fillfactor=50),
)

sandboxes = sa.Table(
    "sandboxes",
    metadata,
    word("name", 255, primary_key=True),
    word("user_name", 128, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    word("checksum", 64, nullable=False),
    moment("created_at", nullable=False),
    moment("last_used_at", nullable=False),
    sa.Index(None, "user_name", "size_bytes", "checksum"),
    sa.Index(None, "last_used_at"),
)

secrets = sa.Table(
    "secrets",
    metadata,
    word("user_name", 128, primary_key=True),
    word("key", 160, primary_key=True),
    sa.Column("sealed", LongText, nullable=False),  # readable only with the server's key
    sa.Column("size", sa.BigInteger, nullable=False),  # characters of the value
    moment("modified_at", nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    numbered("id"),
    moment("at", nullable=False),
    word("actor", 128, nullable=False),
    word("what", 40, nullable=False),  # the kind of the thing: share, storage, retry rule, …
    word("name", 255, nullable=False),
    sa.Column("before", Json),  # null: it was not there
    sa.Column("after", Json),  # null: it is gone
)
