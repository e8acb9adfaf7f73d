"""The initial schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import text

from bamboo.sql.tables import FIRST_TASK_ID
from bamboo.sql.types import Id, Json, LongText, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "archived_jobs",
        sa.Column("pandaid", Id, autoincrement=False, nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("substatus", sa.String(length=40), nullable=True),
        sa.Column("attempt_nr", sa.Integer(), nullable=False),
        sa.Column("serial_nr", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("current_priority", sa.Integer(), nullable=False),
        sa.Column("gshare", sa.String(length=64), nullable=False),
        sa.Column("resource_type", sa.String(length=32), nullable=False),
        sa.Column("prod_source_label", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("working_group", sa.String(length=64), nullable=True),
        sa.Column("processing_type", sa.String(length=128), nullable=True),
        sa.Column("transformation", sa.String(length=1024), nullable=False),
        sa.Column("container_name", sa.String(length=512), nullable=True),
        sa.Column("core_count", sa.Integer(), nullable=False),
        sa.Column("min_ram_count_mb", sa.Integer(), nullable=False),
        sa.Column("max_disk_count_mb", sa.Integer(), nullable=False),
        sa.Column("max_walltime_seconds", sa.Integer(), nullable=False),
        sa.Column("n_input_files", sa.Integer(), nullable=False),
        sa.Column("input_file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("n_events", sa.BigInteger(), nullable=True),
        sa.Column("is_scout", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("kind", sa.String(length=10), server_default="run", nullable=False),
        sa.Column("to_be_merged", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("merge_pandaid", Id, nullable=True),
        sa.Column("merge_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("command_to_pilot", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=True),
        sa.Column("claim_key", sa.String(length=64), nullable=True),
        sa.Column("pilot_id", sa.String(length=200), nullable=True),
        sa.Column("node", sa.String(length=128), nullable=True),
        sa.Column("batch_id", sa.String(length=80), nullable=True),
        sa.Column("worker_id", sa.String(length=64), nullable=True),
        sa.Column("scheduler_id", sa.String(length=128), nullable=True),
        sa.Column("reported_status", sa.String(length=20), nullable=True),
        sa.Column("trans_exit_code", sa.Integer(), nullable=True),
        sa.Column("cpu_consumption_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_consumption_unit", sa.String(length=128), nullable=True),
        sa.Column("max_rss_kb", sa.BigInteger(), nullable=True),
        sa.Column("max_pss_kb", sa.BigInteger(), nullable=True),
        sa.Column("max_vmem_kb", sa.BigInteger(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("state_changed_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("pilot_error_code", sa.Integer(), nullable=True),
        sa.Column("pilot_error_diag", sa.String(length=500), nullable=True),
        sa.Column("exe_error_code", sa.Integer(), nullable=True),
        sa.Column("exe_error_diag", sa.String(length=500), nullable=True),
        sa.Column("sup_error_code", sa.Integer(), nullable=True),
        sa.Column("sup_error_diag", sa.String(length=500), nullable=True),
        sa.Column("ddm_error_code", sa.Integer(), nullable=True),
        sa.Column("ddm_error_diag", sa.String(length=500), nullable=True),
        sa.Column("brokerage_error_code", sa.Integer(), nullable=True),
        sa.Column("brokerage_error_diag", sa.String(length=500), nullable=True),
        sa.Column("job_dispatcher_error_code", sa.Integer(), nullable=True),
        sa.Column("job_dispatcher_error_diag", sa.String(length=500), nullable=True),
        sa.Column("task_buffer_error_code", sa.Integer(), nullable=True),
        sa.Column("task_buffer_error_diag", sa.String(length=500), nullable=True),
        sa.CheckConstraint(
            "status IN ('cancelled', 'closed', 'failed', 'finished')", name=op.f("ck_archived_jobs_status")
        ),
        sa.PrimaryKeyConstraint("pandaid", name=op.f("pk_archived_jobs")),
    )
    op.create_index(
        op.f("ix_archived_jobs_jeditaskid_pandaid"), "archived_jobs", ["jeditaskid", "pandaid"], unique=False
    )
    op.create_index(op.f("ix_archived_jobs_modified_at"), "archived_jobs", ["modified_at"], unique=False)
    op.create_table(
        "catalogue_datasets",
        sa.Column("dataset_id", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=True),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_catalogue_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_catalogue_datasets_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "decisions",
        sa.Column("id", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=True),
        sa.Column("pandaid", Id, nullable=True),
        sa.Column("queue", sa.String(length=128), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("what", sa.String(length=255), nullable=False),
        sa.Column("why", Json, nullable=False),
        sa.Column("repeated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_jeditaskid_id"), "decisions", ["jeditaskid", "id"], unique=False)
    op.create_table(
        "global_shares",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=True),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("prod_source_label", sa.String(length=255), nullable=True),
        sa.Column("working_group", sa.String(length=255), nullable=True),
        sa.Column("campaign", sa.String(length=255), nullable=True),
        sa.Column("processing_type", sa.String(length=255), nullable=True),
        sa.Column("vo", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_global_shares")),
    )
    op.create_table(
        "job_counts",
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("gshare", sa.String(length=64), nullable=False),
        sa.Column("resource_type", sa.String(length=32), nullable=False),
        sa.Column("prod_source_label", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("n_jobs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "queue", "gshare", "resource_type", "prod_source_label", "status", name=op.f("pk_job_counts")
        ),
    )
    op.create_table(
        "job_events",
        sa.Column("id", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("pandaid", Id, nullable=False),
        sa.Column("attempt_nr", sa.Integer(), nullable=False),
        sa.Column("old_status", sa.String(length=20), nullable=True),
        sa.Column("new_status", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("why", sa.String(length=1024), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    op.create_index(op.f("ix_job_events_pandaid_id"), "job_events", ["pandaid", "id"], unique=False)
    op.create_table(
        "job_files",
        sa.Column("row_id", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("pandaid", Id, nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("datasetid", Id, nullable=False),
        sa.Column("fileid", Id, nullable=True),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("lfn", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=True),
        sa.Column("guid", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("checksum", sa.String(length=64), nullable=True),
        sa.Column("url", sa.String(length=1024), nullable=True),
        sa.Column("storage", sa.String(length=128), nullable=True),
        sa.Column("first_event", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_events", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("may_be_missing", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint(
            "status IN ('ready', 'missing', 'lost', 'broken', 'picked', 'running', 'finished', 'failed', 'partial', 'defined', 'prepared', 'merging')",
            name=op.f("ck_job_files_status"),
        ),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_job_files")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_job_files_datasetid_row_id"), "job_files", ["datasetid", "row_id"], unique=False)
    op.create_index(op.f("ix_job_files_pandaid"), "job_files", ["pandaid"], unique=False)
    if op.get_context().dialect.name in ("postgresql", "sqlite"):
        # elsewhere there are no partial unique indexes, and the fence of the job holds the promise alone
        op.create_index(
            "uq_job_files_input_once",
            "job_files",
            ["fileid", "first_event"],
            unique=True,
            postgresql_where=sa.text("status = 'finished' AND fileid IS NOT NULL"),
            sqlite_where=sa.text("status = 'finished' AND fileid IS NOT NULL"),
        )
    op.create_table(
        "job_metadata",
        sa.Column("pandaid", Id, autoincrement=False, nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("metadata", LongText, nullable=False),
        sa.PrimaryKeyConstraint("pandaid", name=op.f("pk_job_metadata")),
    )
    op.create_index(op.f("ix_job_metadata_jeditaskid"), "job_metadata", ["jeditaskid"], unique=False)
    op.create_table(
        "job_params",
        sa.Column("pandaid", Id, autoincrement=False, nullable=False),
        sa.Column("job_parameters", LongText, nullable=False),
        sa.PrimaryKeyConstraint("pandaid", name=op.f("pk_job_params")),
    )
    op.create_table(
        "job_reports",
        sa.Column("pandaid", Id, autoincrement=False, nullable=False),
        sa.Column("output_report", Json, nullable=True),
        sa.Column("job_metrics", sa.String(length=500), nullable=True),
        sa.Column("pilot_timing", sa.String(length=100), nullable=True),
        sa.Column("pilot_log", LongText, nullable=True),
        sa.Column("stdout_tail", LongText, nullable=True),
        sa.PrimaryKeyConstraint("pandaid", name=op.f("pk_job_reports")),
    )
    op.create_table(
        "jobs",
        sa.Column("pandaid", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("substatus", sa.String(length=40), nullable=True),
        sa.Column("attempt_nr", sa.Integer(), nullable=False),
        sa.Column("serial_nr", sa.BigInteger(), nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("current_priority", sa.Integer(), nullable=False),
        sa.Column("gshare", sa.String(length=64), nullable=False),
        sa.Column("resource_type", sa.String(length=32), nullable=False),
        sa.Column("prod_source_label", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("working_group", sa.String(length=64), nullable=True),
        sa.Column("processing_type", sa.String(length=128), nullable=True),
        sa.Column("transformation", sa.String(length=1024), nullable=False),
        sa.Column("container_name", sa.String(length=512), nullable=True),
        sa.Column("core_count", sa.Integer(), nullable=False),
        sa.Column("min_ram_count_mb", sa.Integer(), nullable=False),
        sa.Column("max_disk_count_mb", sa.Integer(), nullable=False),
        sa.Column("max_walltime_seconds", sa.Integer(), nullable=False),
        sa.Column("n_input_files", sa.Integer(), nullable=False),
        sa.Column("input_file_bytes", sa.BigInteger(), nullable=False),
        sa.Column("n_events", sa.BigInteger(), nullable=True),
        sa.Column("is_scout", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("kind", sa.String(length=10), server_default="run", nullable=False),
        sa.Column("to_be_merged", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("merge_pandaid", Id, nullable=True),
        sa.Column("merge_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("command_to_pilot", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=True),
        sa.Column("claim_key", sa.String(length=64), nullable=True),
        sa.Column("pilot_id", sa.String(length=200), nullable=True),
        sa.Column("node", sa.String(length=128), nullable=True),
        sa.Column("batch_id", sa.String(length=80), nullable=True),
        sa.Column("worker_id", sa.String(length=64), nullable=True),
        sa.Column("scheduler_id", sa.String(length=128), nullable=True),
        sa.Column("reported_status", sa.String(length=20), nullable=True),
        sa.Column("trans_exit_code", sa.Integer(), nullable=True),
        sa.Column("cpu_consumption_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_consumption_unit", sa.String(length=128), nullable=True),
        sa.Column("max_rss_kb", sa.BigInteger(), nullable=True),
        sa.Column("max_pss_kb", sa.BigInteger(), nullable=True),
        sa.Column("max_vmem_kb", sa.BigInteger(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("state_changed_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("pilot_error_code", sa.Integer(), nullable=True),
        sa.Column("pilot_error_diag", sa.String(length=500), nullable=True),
        sa.Column("exe_error_code", sa.Integer(), nullable=True),
        sa.Column("exe_error_diag", sa.String(length=500), nullable=True),
        sa.Column("sup_error_code", sa.Integer(), nullable=True),
        sa.Column("sup_error_diag", sa.String(length=500), nullable=True),
        sa.Column("ddm_error_code", sa.Integer(), nullable=True),
        sa.Column("ddm_error_diag", sa.String(length=500), nullable=True),
        sa.Column("brokerage_error_code", sa.Integer(), nullable=True),
        sa.Column("brokerage_error_diag", sa.String(length=500), nullable=True),
        sa.Column("job_dispatcher_error_code", sa.Integer(), nullable=True),
        sa.Column("job_dispatcher_error_diag", sa.String(length=500), nullable=True),
        sa.Column("task_buffer_error_code", sa.Integer(), nullable=True),
        sa.Column("task_buffer_error_diag", sa.String(length=500), nullable=True),
        sa.CheckConstraint(
            "(status IN ('sent', 'starting', 'running')) = (lease_until IS NOT NULL)", name=op.f("ck_jobs_leased")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'defined', 'waiting', 'assigned', 'throttled', 'activated', 'sent', 'starting', 'running', 'holding', 'merging', 'transferring', 'finished', 'failed', 'closed', 'cancelled')",
            name=op.f("ck_jobs_status"),
        ),
        sa.PrimaryKeyConstraint("pandaid", name=op.f("pk_jobs")),
        postgresql_with={"fillfactor": "85", "autovacuum_vacuum_scale_factor": "0.02"},
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        ["queue", sa.literal_column("current_priority DESC"), "pandaid"],
        unique=False,
        postgresql_where=sa.text("status = 'activated'"),
        sqlite_where=sa.text("status = 'activated'"),
    )
    op.create_index(
        "ix_jobs_holding",
        "jobs",
        ["pandaid"],
        unique=False,
        postgresql_where=sa.text("status IN ('holding', 'merging', 'transferring')"),
        sqlite_where=sa.text("status IN ('holding', 'merging', 'transferring')"),
    )
    op.create_index(op.f("ix_jobs_jeditaskid_pandaid"), "jobs", ["jeditaskid", "pandaid"], unique=False)
    op.create_index(
        "ix_jobs_leased",
        "jobs",
        ["pandaid"],
        unique=False,
        postgresql_where=sa.text("status IN ('sent', 'starting', 'running')"),
        sqlite_where=sa.text("status IN ('sent', 'starting', 'running')"),
    )
    op.create_index(
        "ix_jobs_merging",
        "jobs",
        ["merge_pandaid", "jeditaskid"],
        unique=False,
        postgresql_where=sa.text("status = 'merging'"),
        sqlite_where=sa.text("status = 'merging'"),
    )
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["status", "queue", "pandaid"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'defined', 'waiting', 'assigned', 'throttled', 'activated')"),
        sqlite_where=sa.text("status IN ('pending', 'defined', 'waiting', 'assigned', 'throttled', 'activated')"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("term", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_run_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "resource_types",
        sa.Column("resource_name", sa.String(length=32), nullable=False),
        sa.Column("min_core", sa.Integer(), server_default="1", nullable=False),
        sa.Column("max_core", sa.Integer(), nullable=True),
        sa.Column("min_ram_per_core_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_ram_per_core_mb", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("resource_name", name=op.f("pk_resource_types")),
    )
    op.create_table(
        "sandboxes",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sandboxes")),
    )
    op.create_index(op.f("ix_sandboxes_last_used_at"), "sandboxes", ["last_used_at"], unique=False)
    op.create_index(
        op.f("ix_sandboxes_user_name_size_bytes_checksum"),
        "sandboxes",
        ["user_name", "size_bytes", "checksum"],
        unique=False,
    )
    op.create_table(
        "settings",
        sa.Column("app", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=1024), nullable=False),
        sa.Column("type", sa.String(length=20), server_default="str", nullable=False),
        sa.Column("descr", sa.String(length=512), nullable=True),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("app", "component", "key", "vo", name=op.f("pk_settings")),
    )
    op.create_table(
        "sites",
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("cloud", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=20), server_default="ACTIVE", nullable=False),
        sa.Column("attributes", Json, nullable=False),
        sa.PrimaryKeyConstraint("site", name=op.f("pk_sites")),
    )
    op.create_table(
        "task_events",
        sa.Column("id", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("old_status", sa.String(length=20), nullable=True),
        sa.Column("new_status", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("why", sa.String(length=1024), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_events")),
    )
    op.create_index(op.f("ix_task_events_jeditaskid_id"), "task_events", ["jeditaskid", "id"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("jeditaskid", Id, sa.Identity(always=False, start=10000000), nullable=False),
        sa.Column("task_name", sa.String(length=255), nullable=False),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("prod_source_label", sa.String(length=64), nullable=False),
        sa.Column("working_group", sa.String(length=64), nullable=True),
        sa.Column("processing_type", sa.String(length=128), nullable=True),
        sa.Column("campaign", sa.String(length=128), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("old_status", sa.String(length=20), nullable=True),
        sa.Column("task_priority", sa.Integer(), server_default="1000", nullable=False),
        sa.Column("current_priority", sa.Integer(), server_default="1000", nullable=False),
        sa.Column("gshare", sa.String(length=64), server_default="Undefined", nullable=False),
        sa.Column("resource_type", sa.String(length=32), server_default="Undefined", nullable=False),
        sa.Column("work_queue_id", sa.Integer(), nullable=True),
        sa.Column("site", sa.String(length=128), nullable=True),
        sa.Column("nucleus", sa.String(length=128), nullable=True),
        sa.Column("cloud", sa.String(length=64), nullable=True),
        sa.Column("architecture", sa.String(length=255), nullable=True),
        sa.Column("container_name", sa.String(length=512), nullable=True),
        sa.Column("trans_path", sa.String(length=1024), nullable=True),
        sa.Column("core_count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("ram_count_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("out_disk_count_kb", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("work_disk_count_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_walltime_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempt", sa.Integer(), server_default="3", nullable=False),
        sa.Column("split_rule", Json, nullable=False),
        sa.Column("attempt_nr", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_serial_nr", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("parent_tid", Id, nullable=True),
        sa.Column("error_dialog", sa.String(length=1024), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("state_changed_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("next_round_at", UtcDateTime(), nullable=True),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("jobs_to_kill", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("lost_leases", sa.Integer(), server_default="0", nullable=False),
        sa.Column("idempotency_key", sa.String(length=128), nullable=True),
        sa.CheckConstraint(
            "status IN ('registered', 'defined', 'assigning', 'topreprocess', 'preprocessing', 'ready', 'pending', 'scouting', 'scouted', 'running', 'throttled', 'paused', 'exhausted', 'passed', 'prepared', 'done', 'finished', 'failed', 'finishing', 'aborting', 'aborted', 'tobroken', 'broken', 'toretry', 'toincexec', 'rerefine')",
            name=op.f("ck_tasks_status"),
        ),
        sa.PrimaryKeyConstraint("jeditaskid", name=op.f("pk_tasks")),
        sa.UniqueConstraint("user_name", "idempotency_key", name=op.f("uq_tasks_user_name_idempotency_key")),
        mysql_auto_increment="10000000",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tasks_modified_at"), "tasks", ["modified_at"], unique=False)
    op.create_index(op.f("ix_tasks_status"), "tasks", ["status"], unique=False)
    op.create_index(op.f("ix_tasks_task_name"), "tasks", ["task_name"], unique=False)
    op.create_index(op.f("ix_tasks_user_name_jeditaskid"), "tasks", ["user_name", "jeditaskid"], unique=False)
    op.create_table(
        "work_queues",
        sa.Column("queue_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("queue_name", sa.String(length=64), nullable=False),
        sa.Column("queue_type", sa.String(length=64), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=False),
        sa.Column("queue_function", sa.String(length=64), server_default="Resource", nullable=False),
        sa.Column("criteria", Json, nullable=False),
        sa.PrimaryKeyConstraint("queue_id", name=op.f("pk_work_queues")),
        sa.UniqueConstraint("queue_name", name=op.f("uq_work_queues_queue_name")),
    )
    op.create_table(
        "workers",
        sa.Column("harvester_id", sa.String(length=64), nullable=False),
        sa.Column("worker_id", Id, autoincrement=False, nullable=False),
        sa.Column("queue", sa.String(length=128), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("pilot_status", sa.String(length=20), nullable=True),
        sa.Column("node", sa.String(length=128), nullable=True),
        sa.Column("batch_id", sa.String(length=80), nullable=True),
        sa.Column("n_jobs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attributes", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("harvester_id", "worker_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "catalogue_files",
        sa.Column("file_id", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("dataset_id", Id, nullable=False),
        sa.Column("lfn", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=True),
        sa.Column("guid", sa.String(length=64), nullable=False),
        sa.Column("url", sa.String(length=1024), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("adler32", sa.String(length=8), nullable=False),
        sa.Column("n_events", sa.BigInteger(), nullable=True),
        sa.Column("pandaid", Id, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["catalogue_datasets.dataset_id"],
            name=op.f("fk_catalogue_files_dataset_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_catalogue_files")),
        sa.UniqueConstraint("dataset_id", "lfn", name=op.f("uq_catalogue_files_dataset_id_lfn")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "commands",
        sa.Column("commandid", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("command", sa.String(length=20), nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("user_name", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("answer", sa.String(length=1024), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("status IN ('queued', 'done', 'refused')", name=op.f("ck_commands_status")),
        sa.ForeignKeyConstraint(
            ["jeditaskid"], ["tasks.jeditaskid"], name=op.f("fk_commands_jeditaskid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("commandid", name=op.f("pk_commands")),
    )
    op.create_index(
        "ix_commands_queued",
        "commands",
        ["jeditaskid", "commandid"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
        sqlite_where=sa.text("status = 'queued'"),
    )
    op.create_table(
        "datasets",
        sa.Column("datasetid", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("dataset_name", sa.String(length=255), nullable=False),
        sa.Column("container_name", sa.String(length=255), nullable=True),
        sa.Column("stream_name", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=True),
        sa.Column("is_master", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("lfn_template", sa.String(length=512), nullable=True),
        sa.Column("storage", sa.String(length=128), nullable=True),
        sa.Column("selection", Json, nullable=False),
        sa.Column("content_cursor", sa.String(length=255), nullable=True),
        sa.Column("n_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_files_used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_files_on_hold", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_files_finished", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_files_failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_files_missing", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_events", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("next_lookup_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "status IN ('defined', 'toupdate', 'pending', 'broken', 'ready', 'done', 'running', 'prepared')",
            name=op.f("ck_datasets_status"),
        ),
        sa.CheckConstraint(
            "type IN ('input', 'pseudo_input', 'output', 'log', 'lib', 'tmpl_output', 'tmpl_log')",
            name=op.f("ck_datasets_type"),
        ),
        sa.ForeignKeyConstraint(
            ["jeditaskid"], ["tasks.jeditaskid"], name=op.f("fk_datasets_jeditaskid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("datasetid", name=op.f("pk_datasets")),
        sa.UniqueConstraint("jeditaskid", "type", "stream_name", name=op.f("uq_datasets_jeditaskid_type_stream_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_datasets_status"), "datasets", ["status"], unique=False)
    op.create_table(
        "queues",
        sa.Column("queue", sa.String(length=128), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("vo", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="online", nullable=False),
        sa.Column("state", sa.String(length=20), server_default="ACTIVE", nullable=False),
        sa.Column("type", sa.String(length=20), server_default="unified", nullable=False),
        sa.Column("core_count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("max_rss_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_wdir_mb", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_time_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("time_floor_minutes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("storage", sa.String(length=128), nullable=True),
        sa.Column("attributes", Json, nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["site"], ["sites.site"], name=op.f("fk_queues_site")),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queues")),
    )
    op.create_table(
        "storages",
        sa.Column("storage", sa.String(length=128), nullable=False),
        sa.Column("site", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="ACTIVE", nullable=False),
        sa.Column("endpoint", sa.String(length=255), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("type", sa.String(length=20), server_default="DATADISK", nullable=False),
        sa.Column("free_bytes", sa.BigInteger(), nullable=True),
        sa.Column("attributes", Json, nullable=False),
        sa.ForeignKeyConstraint(["site"], ["sites.site"], name=op.f("fk_storages_site")),
        sa.PrimaryKeyConstraint("storage", name=op.f("pk_storages")),
    )
    op.create_table(
        "task_params",
        sa.Column("jeditaskid", Id, autoincrement=False, nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["jeditaskid"], ["tasks.jeditaskid"], name=op.f("fk_task_params_jeditaskid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jeditaskid", name=op.f("pk_task_params")),
    )
    op.create_table(
        "files",
        sa.Column("fileid", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("datasetid", Id, nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("lfn", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=True),
        sa.Column("guid", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("url", sa.String(length=1024), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=True),
        sa.Column("n_events", sa.BigInteger(), nullable=True),
        sa.Column("attempt_nr", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempt", sa.Integer(), server_default="3", nullable=False),
        sa.Column("pandaid", Id, nullable=True),
        sa.CheckConstraint("(status IN ('picked', 'running')) = (pandaid IS NOT NULL)", name=op.f("ck_files_owned")),
        sa.CheckConstraint(
            "status IN ('ready', 'missing', 'lost', 'broken', 'picked', 'running', 'finished', 'failed', 'partial')",
            name=op.f("ck_files_status"),
        ),
        sa.ForeignKeyConstraint(
            ["datasetid"], ["datasets.datasetid"], name=op.f("fk_files_datasetid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("fileid", name=op.f("pk_files")),
        sa.UniqueConstraint("datasetid", "lfn", name=op.f("uq_files_datasetid_lfn")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_files_jeditaskid"), "files", ["jeditaskid"], unique=False)
    op.create_index(
        "ix_files_ready",
        "files",
        ["datasetid", "fileid"],
        unique=False,
        postgresql_where=sa.text("status = 'ready'"),
        sqlite_where=sa.text("status = 'ready'"),
    )
    op.create_table(
        "events",
        sa.Column("eventid", Id, sa.Identity(always=False, start=1), nullable=False),
        sa.Column("jeditaskid", Id, nullable=False),
        sa.Column("datasetid", Id, nullable=False),
        sa.Column("fileid", Id, nullable=False),
        sa.Column("pandaid", Id, nullable=True),
        sa.Column("attempt_nr", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempt", sa.Integer(), server_default="3", nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("first_event", sa.BigInteger(), nullable=False),
        sa.Column("last_event", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('ready', 'sent', 'running', 'finished', 'cancelled', 'discarded', 'done', 'failed', 'fatal', 'merged', 'corrupted')",
            name=op.f("ck_events_status"),
        ),
        sa.ForeignKeyConstraint(
            ["datasetid"], ["datasets.datasetid"], name=op.f("fk_events_datasetid"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["fileid"], ["files.fileid"], name=op.f("fk_events_fileid"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("eventid", name=op.f("pk_events")),
        sa.UniqueConstraint("fileid", "first_event", name=op.f("uq_events_fileid_first_event")),
    )
    op.create_index(op.f("ix_events_pandaid"), "events", ["pandaid"], unique=False)
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            text("INSERT INTO sqlite_sequence (name, seq) VALUES ('tasks', :last)").bindparams(last=FIRST_TASK_ID - 1)
        )
    op.execute(text("INSERT INTO resource_types (resource_name, min_core) VALUES ('Undefined', 1)"))


def downgrade() -> None:
    op.drop_table("events")
    op.drop_table("files")
    op.drop_table("task_params")
    op.drop_table("storages")
    op.drop_table("queues")
    op.drop_table("datasets")
    op.drop_table("commands")
    op.drop_table("catalogue_files")
    op.drop_table("workers")
    op.drop_table("work_queues")
    op.drop_table("tasks")
    op.drop_table("task_events")
    op.drop_table("sites")
    op.drop_table("settings")
    op.drop_table("sandboxes")
    op.drop_table("resource_types")
    op.drop_table("leases")
    op.drop_table("jobs")
    op.drop_table("job_reports")
    op.drop_table("job_params")
    op.drop_table("job_metadata")
    op.drop_table("job_files")
    op.drop_table("job_events")
    op.drop_table("job_counts")
    op.drop_table("global_shares")
    op.drop_table("decisions")
    op.drop_table("catalogue_datasets")
    op.drop_table("archived_jobs")
