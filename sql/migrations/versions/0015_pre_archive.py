"""The archive in partitions by month, one view over live and archived jobs, and storage that keeps large tables flat.

The rows of an archive that exists stay where they are: its table becomes the first partition, up to the end of the
month. Its primary key is made anew, as that of a partitioned table has the column of the partitions; reading and
archiving wait meanwhile. Whoever archives makes the partitions that follow.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from bamboo.sql import views
from bamboo.sql.types import UtcDateTime

revision = "0015_pre_archive"
down_revision = "0014_pre_time_limits"
branch_labels = None
depends_on = None

OVER = sa.text("jobs_archived_at IS NULL AND status IN ('done', 'finished', 'failed', 'aborted', 'broken')")
SENT = sa.text("status = 'sent'")
#: Tables whose rows change or go, and how full their pages are made where rows change over and over.
FILL_FACTORS = {
    "tasks": 80,
    "datasets": 80,
    "job_reports": 80,
    "decisions": 90,
    "links": 60,
    "queue_activity": 50,
    "leases": 50,
}
CHANGING = ("files", "events", "job_files", "job_params", "job_metadata", "job_events", "workers")
VACUUM = "autovacuum_vacuum_scale_factor"
INDEXES = {"ix_archived_jobs_jeditaskid_pandaid": "jeditaskid, pandaid", "ix_archived_jobs_modified_at": "modified_at"}


def upgrade() -> None:
    op.add_column("tasks", sa.Column("jobs_archived_at", UtcDateTime(), nullable=True))
    op.create_index(
        "ix_tasks_to_archive", "tasks", ["state_changed_at", "jeditaskid"], postgresql_where=OVER, sqlite_where=OVER
    )
    op.create_index("ix_workers_modified_at", "workers", ["modified_at"])
    op.create_index("ix_jobs_sent", "jobs", ["queue", "claim_key"], postgresql_where=SENT, sqlite_where=SENT)
    if op.get_bind().dialect.name == "postgresql":
        for table, fillfactor in FILL_FACTORS.items():
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {fillfactor}, {VACUUM} = 0.02)")
        for table in CHANGING:
            op.execute(f"ALTER TABLE {table} SET ({VACUUM} = 0.02)")
        _part()
    views.create(op.get_bind())


def _part() -> None:
    newest = op.get_bind().scalar(sa.text("SELECT max(modified_at) FROM archived_jobs"))
    newest = max(newest or datetime.now(UTC), datetime.now(UTC)).astimezone(UTC)
    year, month = divmod(newest.year * 12 + newest.month, 12)
    first = f"archived_jobs_until_{year}_{month + 1:02}"
    for index in INDEXES:
        op.execute(f"ALTER INDEX {index} RENAME TO {index.replace('archived_jobs', first)}")
    op.execute("ALTER TABLE archived_jobs DROP CONSTRAINT pk_archived_jobs")
    op.execute(f"ALTER TABLE archived_jobs RENAME TO {first}")
    op.execute(
        f"CREATE TABLE archived_jobs (LIKE {first} INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (modified_at)"
    )
    op.execute("ALTER TABLE archived_jobs ADD CONSTRAINT pk_archived_jobs PRIMARY KEY (pandaid, modified_at)")
    for index, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {index} ON archived_jobs ({columns})")
    end = f"'{year}-{month + 1:02}-01 00:00:00+00'"
    op.execute(f"ALTER TABLE archived_jobs ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({end})")
    op.execute("CREATE TABLE archived_jobs_other PARTITION OF archived_jobs DEFAULT")


def downgrade() -> None:
    views.drop(op.get_bind())
    if op.get_bind().dialect.name == "postgresql":
        _join()
        for table in CHANGING:
            op.execute(f"ALTER TABLE {table} RESET ({VACUUM})")
        for table in FILL_FACTORS:
            op.execute(f"ALTER TABLE {table} RESET (fillfactor, {VACUUM})")
    op.drop_index("ix_jobs_sent", "jobs")
    op.drop_index("ix_workers_modified_at", "workers")
    op.drop_index("ix_tasks_to_archive", "tasks")
    op.drop_column("tasks", "jobs_archived_at")


def _join() -> None:
    """One table again; months that were being forgotten come back to it, for the older code forgets them row by row."""
    op.execute("ALTER TABLE archived_jobs RENAME TO archived_parts")
    for index in ("pk_archived_jobs", *INDEXES):
        op.execute(f"ALTER INDEX {index} RENAME TO {index}_parts")
    op.execute("CREATE TABLE archived_jobs (LIKE archived_parts INCLUDING ALL EXCLUDING INDEXES)")
    detached = [name for name in sa.inspect(op.get_bind()).get_table_names() if name.startswith("forgotten_jobs_")]
    names = ", ".join(column["name"] for column in sa.inspect(op.get_bind()).get_columns("archived_jobs"))
    for table in ("archived_parts", *detached):
        op.execute(f"INSERT INTO archived_jobs ({names}) SELECT {names} FROM {table}")  # noqa: S608 - names of ours
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE archived_jobs ADD CONSTRAINT pk_archived_jobs PRIMARY KEY (pandaid)")
    for index, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {index} ON archived_jobs ({columns})")
