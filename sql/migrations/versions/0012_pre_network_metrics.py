"""Imports of software and of what is measured of the network: their sources, and files in queues by activity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Json, UtcDateTime

revision = "0012_pre_network_metrics"
down_revision = "0011_pre_work_queue_counts"
branch_labels = None
depends_on = None

KINDS = ("software", "network")
_SOURCES = sa.table("grid_sources", sa.column("kind"))


def upgrade() -> None:
    op.add_column("links", sa.Column("queued", Json))
    op.add_column("links", sa.Column("measured_at", UtcDateTime()))
    # Their rows are the locks of imports: two of one kind must not run at the same time.
    op.bulk_insert(_SOURCES, [{"kind": kind} for kind in KINDS])


def downgrade() -> None:
    op.execute(sa.delete(_SOURCES).where(_SOURCES.c.kind.in_(KINDS)))
    op.drop_column("links", "measured_at")
    op.drop_column("links", "queued")
