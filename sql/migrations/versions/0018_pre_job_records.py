"""Flight records of jobs: what they used over time, their processes, and the end of their output."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Id, Json, LongText, UtcDateTime

revision = "0018_pre_job_records"
down_revision = "0017_pre_monitoring"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_records",
        sa.Column("pandaid", Id, autoincrement=False, nullable=False),
        sa.Column("samples", Json, nullable=True),
        sa.Column("tree", Json, nullable=True),
        sa.Column("stdout", LongText, nullable=True),
        sa.Column("stdout_end", sa.BigInteger(), nullable=True),
        sa.Column("stderr", LongText, nullable=True),
        sa.Column("stderr_end", sa.BigInteger(), nullable=True),
        sa.Column("pilot_limit_kb", sa.BigInteger(), nullable=True),
        sa.Column("kernel_limit_kb", sa.BigInteger(), nullable=True),
        sa.Column("oom_kills", sa.Integer(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("pandaid", name=op.f("pk_job_records")),
        postgresql_with={"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.02"},
    )


def downgrade() -> None:
    op.drop_table("job_records")
