"""The grid: sites, queues, storages, shares, resource types, work queues and workers."""

from __future__ import annotations

import sqlalchemy as sa

from ..types import Id, Json, LongText
from .base import changing, count, flag, metadata, moment, numbered, updated_often, word

sites = sa.Table(
    "sites",
    metadata,
    word("site", 128, primary_key=True),
    word("cloud"),
    word("state", 20, nullable=False, server_default="ACTIVE"),
    sa.Column("attributes", Json, nullable=False),
    flag("imported"),  # an information system describes it; else it was entered by hand
)

queues = sa.Table(
    "queues",
    metadata,
    word("queue", 128, primary_key=True),
    sa.Column("site", sa.String(128), sa.ForeignKey("sites.site"), nullable=False),
    word("vo"),  # null: serves every organisation
    word("status", 20, nullable=False, server_default="online"),
    word("state", 20, nullable=False, server_default="ACTIVE"),
    word("type", 20, nullable=False, server_default="unified"),
    sa.Column("core_count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("max_rss_mb", sa.Integer, nullable=False, server_default="0"),  # 0: no limit
    sa.Column("max_wdir_mb", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_time_seconds", sa.Integer, nullable=False, server_default="0"),
    sa.Column("time_floor_minutes", sa.Integer, nullable=False, server_default="0"),
    word("storage", 128),  # where outputs go unless a task says otherwise
    sa.Column("attributes", Json, nullable=False),  # further keys of the queue document, as they are
    moment("modified_at", nullable=False),
    sa.Column("imported", Json),  # the queue's document of the last import, as it came; null: it never was in one
    sa.Column("overrides", Json),  # what was set by hand and wins over it; null: from before there were imports
    moment("vanished_at"),  # since when the imported documents do not have it any more
)

queue_history = sa.Table(
    "queue_history",
    metadata,
    numbered("id"),
    word("queue", 128, nullable=False),
    moment("at", nullable=False),
    word("actor", 128, nullable=False),
    word("what", 40, nullable=False),  # entered, set, released, imported, vanished, came back, software
    word("source", 512),  # the file or address that the change came from
    sa.Column("before", Json, nullable=False),  # the values that changed, by key of the queue document
    sa.Column("after", Json, nullable=False),
    sa.Index(None, "queue", "id"),
    sa.Index(None, "at"),
)

grid_sources = sa.Table(
    "grid_sources",
    metadata,
    word("kind", 20, primary_key=True),  # of core.grid_documents.GridKind
    word("source", 1024),
    moment("good_at"),  # when it was last read and found in order
    sa.Column("n_entries", sa.Integer, nullable=False, server_default="0"),
    moment("failing_since"),  # null: the last try went well
    sa.Column("error", LongText),
)

storages = sa.Table(
    "storages",
    metadata,
    word("storage", 128, primary_key=True),
    sa.Column("site", sa.String(128), sa.ForeignKey("sites.site"), nullable=False),
    word("state", 20, nullable=False, server_default="ACTIVE"),
    word("endpoint", 255, nullable=False),  # file://localhost, https://host:port
    word("path", 512, nullable=False),
    word("type", 20, nullable=False, server_default="DATADISK"),
    sa.Column("free_bytes", sa.BigInteger),
    sa.Column("attributes", Json, nullable=False),
    flag("imported"),  # an information system describes it; else it was entered by hand, and imports leave it alone
)

global_shares = sa.Table(
    "global_shares",
    metadata,
    word("name", primary_key=True),
    word("parent"),
    sa.Column("value", sa.Float, nullable=False),  # percent of the parent
    word("prod_source_label", 255),  # regular expressions that tag a task with this share
    word("working_group", 255),
    word("campaign", 255),
    word("processing_type", 255),
    word("vo"),
    sa.Column("match_order", sa.Integer, nullable=False, server_default="0"),  # the first leaf that matches takes it
)

resource_types = sa.Table(
    "resource_types",
    metadata,
    word("resource_name", 32, primary_key=True),
    sa.Column("min_core", sa.Integer, nullable=False, server_default="1"),
    sa.Column("max_core", sa.Integer),
    sa.Column("min_ram_per_core_mb", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_ram_per_core_mb", sa.Integer),
)

work_queues = sa.Table(
    "work_queues",
    metadata,
    sa.Column("queue_id", sa.Integer, primary_key=True, autoincrement=False),
    word("queue_name", nullable=False, unique=True),
    word("queue_type", nullable=False),  # the activity, such as managed or user
    word("vo", nullable=False),
    word("queue_function", nullable=False, server_default="Resource"),
    sa.Column("criteria", Json, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    word("harvester_id", 64, primary_key=True),
    sa.Column("worker_id", Id, primary_key=True, autoincrement=False),
    word("queue", 128),
    word("status", 20, nullable=False),
    word("pilot_status", 20),
    word("node", 128),
    word("batch_id", 80),
    count("n_jobs"),
    sa.Column("attributes", Json, nullable=False),
    moment("created_at", nullable=False),
    moment("modified_at", nullable=False),
    sa.Index(None, "modified_at"),
    postgresql_with=changing(),
)

links = sa.Table(
    "links",
    metadata,
    word("source", 128, primary_key=True),  # names of sites
    word("destination", 128, primary_key=True),
    sa.Column("closeness", sa.Integer),  # 0: nearest, 11: farthest (manual ch. 12.1.2); null: nobody has said
    sa.Column("mbps_hour", sa.Float),  # throughput of file transfers over the last hour, day and week
    sa.Column("mbps_day", sa.Float),
    sa.Column("mbps_week", sa.Float),
    count("queued_files"),  # files that wait to be moved over it
    sa.Column("queued", Json),  # the same by activity; null: nobody has said
    moment("measured_at"),  # when throughput and queues were; null: they were entered by hand
    word("blocked", 255),  # why nothing may be sent over it; null: it is open
    moment("modified_at", nullable=False),
    postgresql_with=updated_often(fillfactor=60),  # each import of measurements changes most rows
)

queue_activity = sa.Table(
    "queue_activity",
    metadata,
    word("queue", 128, primary_key=True),
    moment("last_pilot_at"),  # when a pilot last asked for work
    moment("last_start_at"),  # when a job last began to run
    count("n_batch_workers"),  # batch jobs that run or are submitted
    sa.Column("disk_io_kbps_per_core", sa.Float),  # mean of its running jobs
    postgresql_with=updated_often(fillfactor=50),  # each request of a pilot
)

software = sa.Table(
    "software",
    metadata,
    word("queue", 128, primary_key=True),  # ALL: what is known of containers for every queue (manual ch. 12.1.1)
    sa.Column("document", Json, nullable=False),
    moment("modified_at", nullable=False),
)

job_counts = sa.Table(
    "job_counts",
    metadata,
    word("queue", 128, primary_key=True),
    word("gshare", primary_key=True),
    word("resource_type", 32, primary_key=True),
    word("prod_source_label", primary_key=True),
    word("status", 20, primary_key=True),
    sa.Column("work_queue_id", sa.Integer, primary_key=True, autoincrement=False, server_default="0"),  # 0: of none
    count("n_jobs"),
    count("n_cores"),
    moment("counted_at", nullable=False),
)

given_cores = sa.Table(
    "given_cores",  # what each server process has given to pilots since the jobs were last counted
    metadata,
    word("server", 128, primary_key=True),
    word("gshare", primary_key=True),
    count("n_cores"),
    moment("counted_at", nullable=False),
)
