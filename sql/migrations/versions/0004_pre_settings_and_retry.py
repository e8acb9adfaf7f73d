"""Who changed which setting when; the rules of the job retry module, and what inputs need after failures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bamboo.sql.types import Id, Json, UtcDateTime

revision = "0004_pre_settings_and_retry"
down_revision = "0003_pre_brokerage"
branch_labels = None
depends_on = None

JOB_TABLES = ("jobs", "archived_jobs")
ACTIONS = {
    "no_retry": "Do not try the inputs again.",
    "limit_retry": "Try the inputs no more than `maxAttempt` times in all.",
    "increase_memory": "Ask for more memory in the next attempts.",
    "increase_cputime": "Ask for more wall time in the next attempts.",
    "reduce_input": "Give the next jobs fewer input files.",
}


def upgrade() -> None:
    op.create_table(
        "settings_history",
        sa.Column("id", Id, sa.Identity(start=1), nullable=False),
        sa.Column("app", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("old_value", sa.String(length=1024), nullable=True),
        sa.Column("new_value", sa.String(length=1024), nullable=True),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settings_history")),
    )
    op.create_index(
        op.f("ix_settings_history_app_component_key_id"), "settings_history", ["app", "component", "key", "id"]
    )

    _make_retry_tables()
    op.add_column("files", sa.Column("needsid", Id, nullable=True))
    for table in JOB_TABLES:
        op.add_column(table, sa.Column("retry_rule", sa.String(length=255), nullable=True))


def _make_retry_tables() -> None:
    actions = op.create_table(
        "retry_actions",
        sa.Column("retryaction_id", Id, sa.Identity(start=1), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("description", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("retryaction_id", name=op.f("pk_retry_actions")),
        sa.UniqueConstraint("name", name=op.f("uq_retry_actions_name")),
    )
    op.bulk_insert(actions, [{"name": name, "active": True, "description": text} for name, text in ACTIONS.items()])
    op.create_table(
        "retry_errors",
        sa.Column("retryerror_id", Id, sa.Identity(start=1), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("retryaction_id", Id, nullable=False),
        sa.Column("error_source", sa.String(length=20), nullable=False),
        sa.Column("error_code", sa.Integer(), nullable=True),
        sa.Column("error_diag", sa.String(length=500), nullable=True),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("architecture", sa.String(length=255), nullable=True),
        sa.Column("release", sa.String(length=64), nullable=True),
        sa.Column("work_queue", sa.String(length=64), nullable=True),
        sa.Column("description", sa.String(length=512), nullable=True),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["retryaction_id"],
            ["retry_actions.retryaction_id"],
            name=op.f("fk_retry_errors_retryaction_id"),
        ),
        sa.PrimaryKeyConstraint("retryerror_id", name=op.f("pk_retry_errors")),
        sa.UniqueConstraint("name", name=op.f("uq_retry_errors_name")),
    )
    op.create_table(
        "input_needs",
        sa.Column("needsid", Id, sa.Identity(start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("ram_count_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_walltime_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_files_per_job", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["jeditaskid"], ["tasks.jeditaskid"], name=op.f("fk_input_needs_jeditaskid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("needsid", name=op.f("pk_input_needs")),
        sa.UniqueConstraint(
            "jeditaskid", "ram_count_mb", "max_walltime_seconds", "max_files_per_job", name="uq_input_needs_of_task"
        ),
    )


def downgrade() -> None:
    for table in JOB_TABLES:
        op.drop_column(table, "retry_rule")
    op.drop_column("files", "needsid")
    for table in ("input_needs", "retry_errors", "retry_actions", "settings_history"):
        op.drop_table(table)
