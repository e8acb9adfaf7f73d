"""Links between sites, what queues are doing, and the software that they publish."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Json, UtcDateTime

revision = "0003_pre_brokerage"
down_revision = "0002_pre_secrets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("closeness", sa.Integer(), nullable=True),
        sa.Column("mbps_hour", sa.Float(), nullable=True),
        sa.Column("mbps_day", sa.Float(), nullable=True),
        sa.Column("mbps_week", sa.Float(), nullable=True),
        sa.Column("queued_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("blocked", sa.String(length=255), nullable=True),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "destination", name=op.f("pk_links")),
    )
    op.create_table(
        "queue_activity",
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("last_pilot_at", UtcDateTime(), nullable=True),
        sa.Column("last_start_at", UtcDateTime(), nullable=True),
        sa.Column("n_batch_workers", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("disk_io_kbps_per_core", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_activity")),
    )
    op.create_table(
        "software",
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("document", Json, nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_software")),
    )


def downgrade() -> None:
    for table in ("software", "queue_activity", "links"):
        op.drop_table(table)
