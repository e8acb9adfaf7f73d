"""The history of settings says why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_pre_settings_reasons"
down_revision = "0012_pre_network_metrics"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("settings_history", sa.Column("descr", sa.String(512)))


def downgrade() -> None:
    op.drop_column("settings_history", "descr")
