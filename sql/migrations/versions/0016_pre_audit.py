"""Who changed shares, storages and retry rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Id, Json, UtcDateTime

revision = "0016_pre_audit"
down_revision = "0015_pre_archive"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Id, sa.Identity(start=1), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("what", sa.String(40), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("before", Json, nullable=True),
        sa.Column("after", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )


def downgrade() -> None:
    op.drop_table("audit")
