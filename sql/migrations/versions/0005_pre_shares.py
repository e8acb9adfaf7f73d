"""Global shares: the order in which they are tried, cores that count, an index to claim by share, resource types."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import UtcDateTime

revision = "0005_pre_shares"
down_revision = "0004_pre_settings_and_retry"
branch_labels = None
depends_on = None

#: A core with more memory than this is a large one: what most sites of the grid give a core.
USUAL_RAM_PER_CORE_MB = 2000
#: (name, min_core, max_core, min_ram_per_core_mb, max_ram_per_core_mb)
RESOURCE_TYPES = (
    ("SCORE", 1, 1, 0, USUAL_RAM_PER_CORE_MB),
    ("SCORE_HIMEM", 1, 1, USUAL_RAM_PER_CORE_MB + 1, None),
    ("MCORE", 2, None, 0, USUAL_RAM_PER_CORE_MB),
    ("MCORE_HIMEM", 2, None, USUAL_RAM_PER_CORE_MB + 1, None),
)
INDEX = "ix_jobs_claim_share"

resource_types = sa.table(
    "resource_types",
    sa.column("resource_name", sa.String),
    sa.column("min_core", sa.Integer),
    sa.column("max_core", sa.Integer),
    sa.column("min_ram_per_core_mb", sa.Integer),
    sa.column("max_ram_per_core_mb", sa.Integer),
)


def upgrade() -> None:
    op.add_column("global_shares", sa.Column("match_order", sa.Integer(), server_default="0", nullable=False))
    op.add_column("job_counts", sa.Column("n_cores", sa.BigInteger(), server_default="0", nullable=False))
    activated = sa.text("status = 'activated'")
    op.create_index(
        INDEX,
        "jobs",
        ["queue", "gshare", sa.text("current_priority DESC"), "pandaid"],
        postgresql_where=activated,
        sqlite_where=activated,
    )
    op.create_table(
        "given_cores",
        sa.Column("server", sa.String(length=128), nullable=False),
        sa.Column("gshare", sa.String(length=64), nullable=False),
        sa.Column("n_cores", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counted_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("server", "gshare", name=op.f("pk_given_cores")),
    )
    _enter_resource_types()


def _enter_resource_types() -> None:
    """Enter the usual types, unless the administrator has entered some."""
    names = set(op.get_bind().scalars(sa.select(resource_types.c.resource_name)))
    if names <= {"Undefined"}:
        columns = [column.name for column in resource_types.columns]
        op.bulk_insert(resource_types, [dict(zip(columns, row, strict=True)) for row in RESOURCE_TYPES])


def downgrade() -> None:
    usual = [name for name, *_ in RESOURCE_TYPES]
    op.execute(sa.delete(resource_types).where(resource_types.c.resource_name.in_(usual)))
    op.drop_table("given_cores")
    op.drop_index(INDEX, table_name="jobs")
    op.drop_column("job_counts", "n_cores")
    op.drop_column("global_shares", "match_order")
