"""Where inputs are, tasks tied to queues, ends of tasks that are to be told, intermediate files to remove."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Id, UtcDateTime

revision = "0008_pre_watchdogs"
down_revision = "0007_pre_scouts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dataset_locality",
        sa.Column("datasetid", Id, autoincrement=False, nullable=False),
        sa.Column("storage", sa.String(length=128), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("n_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("checked_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["datasetid"],
            ["datasets.datasetid"],
            name=op.f("fk_dataset_locality_datasetid_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("datasetid", "storage", name=op.f("pk_dataset_locality")),
    )
    op.create_index(op.f("ix_dataset_locality_jeditaskid"), "dataset_locality", ["jeditaskid"])
    op.create_table(
        "preassignments",
        sa.Column("jeditaskid", Id, autoincrement=False, nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("is_refused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["jeditaskid"], ["tasks.jeditaskid"], name=op.f("fk_preassignments_jeditaskid_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jeditaskid", name=op.f("pk_preassignments")),
    )
    op.create_index(op.f("ix_preassignments_queue"), "preassignments", ["queue"])
    _make_notifications()
    if op.get_bind().dialect.name in ("postgresql", "sqlite"):
        premerged = sa.text("type = 'tmpl_output' AND url IS NOT NULL")
        op.create_index(
            "ix_job_files_premerged", "job_files", ["row_id"], postgresql_where=premerged, sqlite_where=premerged
        )


def _make_notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("notificationid", Id, sa.Identity(start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("why", sa.String(length=1024), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("delivery", sa.String(length=10), server_default="waiting", nullable=False),
        sa.Column("how", sa.String(length=512), nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_try_at", UtcDateTime(), nullable=True),
        sa.Column("told_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("delivery IN ('waiting', 'told', 'given_up')", name=op.f("ck_notifications_delivery")),
        sa.ForeignKeyConstraint(
            ["jeditaskid"], ["tasks.jeditaskid"], name=op.f("fk_notifications_jeditaskid_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notificationid", name=op.f("pk_notifications")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_notifications_jeditaskid"), "notifications", ["jeditaskid"])
    waiting = sa.text("delivery = 'waiting'")
    op.create_index(
        "ix_notifications_waiting",
        "notifications",
        ["notificationid"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )


def downgrade() -> None:
    if op.get_bind().dialect.name in ("postgresql", "sqlite"):
        op.drop_index("ix_job_files_premerged", "job_files")
    for table in ("notifications", "preassignments", "dataset_locality"):
        op.drop_table(table)
