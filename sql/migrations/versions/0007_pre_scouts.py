"""What scouts measure and what a task says about sizes; files that are cut at event boundaries."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007_pre_scouts"
down_revision = "0006_pre_queue_import"
branch_labels = None
depends_on = None

JOB_TABLES = ("jobs", "archived_jobs")
OLD_KEY, NEW_KEY = ["datasetid", "lfn"], ["datasetid", "lfn", "first_event"]


def _task_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("ram_count_unit", sa.String(length=16), server_default="MBPerCore", nullable=False),
        sa.Column("base_ram_count_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cpu_time", sa.Float(), server_default="0", nullable=False),
        sa.Column("cpu_time_unit", sa.String(length=24), server_default="HS06sPerEvent", nullable=False),
        sa.Column("cpu_efficiency", sa.Float(), server_default="90", nullable=False),
        sa.Column("min_cpu_efficiency", sa.Float(), server_default="0", nullable=False),
        sa.Column("base_walltime_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("out_disk_unit", sa.String(length=8), server_default="kB", nullable=False),
        sa.Column("io_intensity", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("disk_io", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_scouts", sa.Integer()),
        sa.Column("first_scout_nr", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("optimisation_stage", sa.Integer(), server_default="0", nullable=False),
    ]


def _job_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("work_dir_bytes", sa.BigInteger()),
        sa.Column("tot_rbytes_kb", sa.BigInteger()),
        sa.Column("tot_wbytes_kb", sa.BigInteger()),
        sa.Column("memory_leak_kb_per_second", sa.Float()),
    ]


def _change_key_of_files(old: list[str], new: list[str]) -> None:
    """SQLite makes the table anew, and forgets how it numbers unless it is told."""
    with op.batch_alter_table("files", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint(op.f(f"uq_files_{'_'.join(old)}"), type_="unique")
        batch.create_unique_constraint(op.f(f"uq_files_{'_'.join(new)}"), new)


def upgrade() -> None:
    for column in _task_columns():
        op.add_column("tasks", column)
    for table in JOB_TABLES:
        for column in _job_columns():
            op.add_column(table, column)
    op.add_column("files", sa.Column("first_event", sa.BigInteger(), server_default="0", nullable=False))
    _change_key_of_files(OLD_KEY, NEW_KEY)


def downgrade() -> None:
    _change_key_of_files(NEW_KEY, OLD_KEY)
    op.drop_column("files", "first_event")
    for table in JOB_TABLES:
        for column in reversed(_job_columns()):
            op.drop_column(table, column.name)
    for column in reversed(_task_columns()):
        op.drop_column("tasks", column.name)
