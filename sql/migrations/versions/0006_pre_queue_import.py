"""Imports of queues, sites and storages: what came from where, and the history of queues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Id, Json, LongText, UtcDateTime

revision = "0006_pre_queue_import"
down_revision = "0005_pre_shares"
branch_labels = None
depends_on = None

IMPORTED_TABLES = ("sites", "storages")
QUEUE_COLUMNS = (("imported", Json), ("overrides", Json), ("vanished_at", UtcDateTime()))


def upgrade() -> None:
    for table in IMPORTED_TABLES:
        op.add_column(table, sa.Column("imported", sa.Boolean(), server_default=sa.false(), nullable=False))
    for name, kind in QUEUE_COLUMNS:
        op.add_column("queues", sa.Column(name, kind))
    op.create_table(
        "queue_history",
        sa.Column("id", Id, sa.Identity(start=1), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("what", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(length=512)),
        sa.Column("before", Json, nullable=False),
        sa.Column("after", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_history")),
    )
    op.create_index(op.f("ix_queue_history_queue_id"), "queue_history", ["queue", "id"])
    op.create_index(op.f("ix_queue_history_at"), "queue_history", ["at"])
    sources = op.create_table(
        "grid_sources",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("source", sa.String(length=1024)),
        sa.Column("good_at", UtcDateTime()),
        sa.Column("n_entries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", UtcDateTime()),
        sa.Column("error", LongText),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_grid_sources")),
    )
    # Their rows are the locks of imports: two of one kind must not run at the same time.
    op.bulk_insert(sources, [{"kind": kind} for kind in ("queues", "sites", "storages", "blacklist", "closeness")])


def downgrade() -> None:
    op.drop_table("grid_sources")
    op.drop_table("queue_history")
    for name, _ in QUEUE_COLUMNS:
        op.drop_column("queues", name)
    for table in IMPORTED_TABLES:
        op.drop_column(table, "imported")
