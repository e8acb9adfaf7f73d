"""What jobs did over time, an index to the jobs that just ended, and views with PanDA's names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql import panda_views
from bamboo.sql.types import UtcDateTime

revision = "0017_pre_monitoring"
down_revision = "0016_pre_audit"
branch_labels = None
depends_on = None

KEYS = {"queue": 128, "gshare": 64, "user_name": 128, "prod_source_label": 64, "status": 20}
HAS_PARENT = sa.text("parent_tid IS NOT NULL")
OVER = sa.text("status IN ('cancelled', 'closed', 'failed', 'finished')")


def upgrade() -> None:
    _history("job_endings", {**KEYS, "cause": 40}, ("n_jobs", "core_seconds", "n_input_files", "input_bytes"))
    op.add_column("job_endings", sa.Column("cpu_seconds", sa.Float(), server_default="0", nullable=False))
    _history("job_samples", KEYS, ("n_jobs", "n_cores"))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE job_endings SET (autovacuum_vacuum_scale_factor = 0.02)")
    op.create_index("ix_jobs_over", "jobs", ["modified_at"], postgresql_where=OVER, sqlite_where=OVER)
    op.create_index("ix_tasks_parent", "tasks", ["parent_tid"], postgresql_where=HAS_PARENT, sqlite_where=HAS_PARENT)
    panda_views.create(op.get_bind())


def _history(name: str, keys: dict[str, int], figures: tuple[str, ...]) -> None:
    op.create_table(
        name,
        sa.Column("at", UtcDateTime(), nullable=False),
        *(sa.Column(key, sa.String(length), nullable=False) for key, length in keys.items()),
        *(sa.Column(figure, sa.BigInteger(), server_default="0", nullable=False) for figure in figures),
        sa.PrimaryKeyConstraint("at", *keys, name=op.f(f"pk_{name}")),
    )


def downgrade() -> None:
    panda_views.drop(op.get_bind())
    op.drop_index("ix_tasks_parent", "tasks")
    op.drop_index("ix_jobs_over", "jobs")
    op.drop_table("job_samples")
    op.drop_table("job_endings")
