"""What event ranges have made, and jobs that process them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Json

revision = "0009_pre_event_ranges"
down_revision = "0008_pre_watchdogs"
branch_labels = None
depends_on = None

JOB_TABLES = ("jobs", "archived_jobs")


def upgrade() -> None:
    op.add_column("events", sa.Column("outputs", Json, nullable=True))
    op.add_column("events", sa.Column("error_diag", sa.String(length=500), nullable=True))
    for table in JOB_TABLES:
        op.add_column(table, sa.Column("is_event_service", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    for table in JOB_TABLES:
        op.drop_column(table, "is_event_service")
    op.drop_column("events", "error_diag")
    op.drop_column("events", "outputs")
