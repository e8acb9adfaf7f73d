"""Counts of jobs by the work queue of their task too. They are counted anew within a minute, so none are carried over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import UtcDateTime

revision = "0011_pre_work_queue_counts"
down_revision = "0010_pre_free_attempts"
branch_labels = None
depends_on = None

_KEYS = ("queue", "gshare", "resource_type", "prod_source_label", "status")
_LENGTHS = (128, 64, 32, 64, 20)


def upgrade() -> None:
    _make_anew(sa.Column("work_queue_id", sa.Integer(), autoincrement=False, server_default="0", nullable=False))


def downgrade() -> None:
    _make_anew()


def _make_anew(*more: sa.Column[int]) -> None:
    """A primary key cannot be widened everywhere, and this table is empty at times anyway."""
    op.drop_table("job_counts")
    op.create_table(
        "job_counts",
        *(sa.Column(key, sa.String(length=n), nullable=False) for key, n in zip(_KEYS, _LENGTHS, strict=True)),
        *more,
        sa.Column("n_jobs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_cores", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEYS, *(column.name for column in more), name=op.f("pk_job_counts")),
    )
