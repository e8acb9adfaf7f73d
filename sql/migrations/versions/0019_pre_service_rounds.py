"""The last rounds of agents and chores, what brokers say of queues, and decisions by when they were last taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Id, LongText, UtcDateTime

revision = "0019_pre_service_rounds"
down_revision = "0018_pre_job_records"
branch_labels = None
depends_on = None

OFTEN = {"autovacuum_vacuum_scale_factor": "0.02"}


def upgrade() -> None:
    op.create_table(
        "service_rounds",
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("host", sa.String(128), nullable=False),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("period_seconds", sa.Float(), nullable=False),
        sa.Column("worked_at", UtcDateTime(), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", LongText, nullable=True),
        sa.Column("told_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("service", "host", name=op.f("pk_service_rounds")),
        postgresql_with={"fillfactor": "50", **OFTEN},
    )
    op.create_table(
        "queue_verdicts",
        sa.Column("queue", sa.String(128), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("gate", sa.String(128), nullable=False),
        sa.Column("n", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("jeditaskid", Id, autoincrement=False, nullable=True),
        sa.Column("last_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("queue", "at", "gate", name=op.f("pk_queue_verdicts")),
        postgresql_with={"fillfactor": "70", **OFTEN},
    )
    op.create_index("ix_queue_verdicts_at", "queue_verdicts", ["at"])
    op.create_index("ix_decisions_last_at", "decisions", ["last_at"])


def downgrade() -> None:
    op.drop_index("ix_decisions_last_at", "decisions")
    op.drop_table("queue_verdicts")
    op.drop_table("service_rounds")
