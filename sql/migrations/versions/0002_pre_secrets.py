"""Secrets of users, and jobs that get them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import LongText, UtcDateTime

revision = "0002_pre_secrets"
down_revision = "0001"
branch_labels = None
depends_on = None

JOB_TABLES = ("jobs", "archived_jobs")


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("sealed", LongText, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_name", "key", name=op.f("pk_secrets")),
    )
    for table in JOB_TABLES:
        op.add_column(table, sa.Column("uses_secrets", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    for table in JOB_TABLES:
        op.drop_column(table, "uses_secrets")
    op.drop_table("secrets")
