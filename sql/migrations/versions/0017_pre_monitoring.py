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

KEYS = ("dimension", "at", "value", "status")
HAS_PARENT = sa.text("parent_tid IS NOT NULL")
OVER = sa.text("status IN ('cancelled', 'closed', 'failed', 'finished')")


def upgrade() -> None:
    _history("job_endings", (*KEYS, "cause"), ("n_jobs", "core_seconds", "n_input_files", "input_bytes"))
    op.add_column("job_endings", sa.Column("cpu_seconds", sa.Float(), server_default="0", nullable=False))
    _history("job_samples", KEYS, ("n_jobs", "n_cores"))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE job_endings SET (autovacuum_vacuum_scale_factor = 0.02)")
    op.create_index("ix_jobs_over", "jobs", ["modified_at"], postgresql_where=OVER, sqlite_where=OVER)
    op.create_index("ix_tasks_parent", "tasks", ["parent_tid"], postgresql_where=HAS_PARENT, sqlite_where=HAS_PARENT)
    panda_views.create(op.get_bind())


def _history(name: str, keys: tuple[str, ...], figures: tuple[str, ...]) -> None:
    columns = {
        "dimension": sa.Column("dimension", sa.String(20), nullable=False),
        "at": sa.Column("at", UtcDateTime(), nullable=False),
        "value": sa.Column("value", sa.String(128), nullable=False),
        "status": sa.Column("status", sa.String(20), nullable=False),
        "cause": sa.Column("cause", sa.String(40), nullable=False),
    }
    op.create_table(
        name,
        *(columns[key] for key in keys),
        *(sa.Column(figure, sa.BigInteger(), server_default="0", nullable=False) for figure in figures),
        sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{name}")),
    )
    op.create_index(f"ix_{name}_value", name, ["dimension", "value", "at"])


def downgrade() -> None:
    panda_views.drop(op.get_bind())
    op.drop_index("ix_tasks_parent", "tasks")
    op.drop_index("ix_jobs_over", "jobs")
    op.drop_table("job_samples")
    op.drop_table("job_endings")
