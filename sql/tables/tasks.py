"""Tasks, the datasets they read and write, the files of those, and what happened to them."""

from __future__ import annotations

import sqlalchemy as sa

from ...core.states import EventState, InputDatasetState, InputFileState, OutputDatasetState, TaskState
from ..types import Id, Json
from .base import (
    HAVE_BOOLEANS,
    changing,
    count,
    flag,
    metadata,
    moment,
    numbered,
    one_of,
    only,
    only_on,
    updated_often,
    word,
    words,
)

#: The first task id: PanDA's `pbook` takes smaller numbers for request ids.
FIRST_TASK_ID = 10_000_000
#: Tasks in these states have no use for their jobs any more, unless a command revives them: that makes new jobs.
TASKS_OVER = (TaskState.DONE, TaskState.FINISHED, TaskState.FAILED, TaskState.ABORTED, TaskState.BROKEN)

tasks = sa.Table(
    "tasks",
    metadata,
    numbered("jeditaskid", start=FIRST_TASK_ID),
    word("task_name", 255, nullable=False),
    word("user_name", 128, nullable=False),
    word("vo", nullable=False),
    word("prod_source_label", nullable=False),
    word("working_group"),
    word("processing_type", 128),
    word("campaign", 128),
    word("status", 20, nullable=False),
    word("old_status", 20),  # where a pending, paused or throttled task goes back to
    sa.Column("task_priority", sa.Integer, nullable=False, server_default="1000"),
    sa.Column("current_priority", sa.Integer, nullable=False, server_default="1000"),
    word("gshare", nullable=False, server_default="Undefined"),
    word("resource_type", 32, nullable=False, server_default="Undefined"),
    sa.Column("work_queue_id", sa.Integer),
    word("site", 128),
    word("nucleus", 128),
    word("cloud"),
    word("architecture", 255),
    word("container_name", 512),
    word("trans_path", 1024),
    sa.Column("core_count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("ram_count_mb", sa.Integer, nullable=False, server_default="0"),  # of a job, all its cores together
    word("ram_count_unit", 16, nullable=False, server_default="MBPerCore"),
    sa.Column("base_ram_count_mb", sa.Integer, nullable=False, server_default="0"),  # the part that no core adds to
    sa.Column("cpu_time", sa.Float, nullable=False, server_default="0"),  # per event, in its unit; 0: not known
    word("cpu_time_unit", 24, nullable=False, server_default="HS06sPerEvent"),
    sa.Column("cpu_efficiency", sa.Float, nullable=False, server_default="90"),  # percent; 0: no scaling with events
    sa.Column("min_cpu_efficiency", sa.Float, nullable=False, server_default="0"),  # percent; scouts below it stop
    sa.Column("base_walltime_seconds", sa.Integer, nullable=False, server_default="0"),
    sa.Column("out_disk_count_kb", sa.BigInteger, nullable=False, server_default="0"),  # per event
    word("out_disk_unit", 8, nullable=False, server_default="kB"),  # kB or kBFixed
    sa.Column("work_disk_count_mb", sa.Integer, nullable=False, server_default="0"),
    sa.Column("io_intensity", sa.BigInteger, nullable=False, server_default="0"),  # kB/s of a job, inputs and outputs
    sa.Column("disk_io", sa.BigInteger, nullable=False, server_default="0"),  # kB/s of a job, its local disk
    sa.Column("n_scouts", sa.Integer),  # scout jobs to begin with; null: not decided yet
    count("first_scout_nr"),  # the serial number from which on scouts are those of this attempt
    sa.Column("optimisation_stage", sa.Integer, nullable=False, server_default="0"),  # see sql/scouts.py
    sa.Column("max_walltime_seconds", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_attempt", sa.Integer, nullable=False, server_default="3"),
    sa.Column("split_rule", Json, nullable=False),  # how to cut the task into jobs: the keys of manual ch. 13
    sa.Column("attempt_nr", sa.Integer, nullable=False, server_default="0"),  # how often it was retried
    count("next_serial_nr", 1),  # ${SN} of the next job
    sa.Column("parent_tid", Id),
    word("error_dialog", 1024),
    moment("created_at", nullable=False),
    moment("modified_at", nullable=False),
    moment("state_changed_at", nullable=False),
    moment("started_at"),
    moment("ended_at"),
    moment("jobs_archived_at"),  # since when none of its jobs is among the live ones; null: some are, or may come
    moment("next_round_at"),  # agents leave the task alone before this moment
    word("lease_owner", 128),
    moment("lease_until"),
    flag("jobs_to_kill"),  # finishing at once: do not wait for its jobs
    sa.Column("lost_leases", sa.Integer, nullable=False, server_default="0"),  # holders that died over it
    word("idempotency_key", 128),
    sa.UniqueConstraint("user_name", "idempotency_key"),
    one_of("status", TaskState),
    sa.Index(None, "status"),
    sa.Index(None, "user_name", "jeditaskid"),
    sa.Index(None, "task_name"),
    sa.Index(None, "modified_at"),
    sa.Index("ix_tasks_parent", "parent_tid", **only("parent_tid IS NOT NULL")),
    # What is over and archived is in it no more, so that the archive's cost does not grow with history.
    sa.Index(
        "ix_tasks_to_archive",
        "state_changed_at",
        "jeditaskid",
        **only(f"jobs_archived_at IS NULL AND status IN ({words(TASKS_OVER)})"),
    ),
    sqlite_autoincrement=True,
    mysql_auto_increment=str(FIRST_TASK_ID),
    postgresql_with=updated_often(fillfactor=80),  # leases, and when to look again
)

task_params = sa.Table(
    "task_params",
    metadata,
    sa.Column(
        "jeditaskid", Id, sa.ForeignKey("tasks.jeditaskid", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("parameters", Json, nullable=False),  # as submitted, with the changes of later retries
)

#: Kinds of datasets (manual ch. 7.1.3), and pseudo inputs, whose files are only numbers.
INPUT_TYPES = ("input", "pseudo_input")
OUTPUT_TYPES = ("output", "log", "lib", "tmpl_output", "tmpl_log")

datasets = sa.Table(
    "datasets",
    metadata,
    numbered("datasetid"),
    sa.Column("jeditaskid", Id, sa.ForeignKey("tasks.jeditaskid", ondelete="CASCADE"), nullable=False),
    word("type", 20, nullable=False),
    word("dataset_name", 255, nullable=False),
    word("container_name", 255),
    word("stream_name", 64, nullable=False),  # IN, IN2, ... or OUTPUT0, LOG, SEQNUMBER: the placeholder it fills
    word("scope", 64),
    flag("is_master"),  # the dataset whose files are counted as the task's inputs
    word("status", 20, nullable=False),
    word("lfn_template", 512),
    word("storage", 128),
    sa.Column("selection", Json, nullable=False),  # include, exclude, files, offset, nFiles of an input
    word("content_cursor", 255),  # the last file name that the Contents Feeder has entered
    count("n_files"),
    count("n_files_used"),
    count("n_files_on_hold"),
    count("n_files_finished"),
    count("n_files_failed"),
    count("n_files_missing"),
    count("n_events"),
    count("size_bytes"),
    moment("created_at", nullable=False),
    moment("modified_at", nullable=False),
    moment("next_lookup_at"),
    sa.UniqueConstraint("jeditaskid", "type", "stream_name"),
    one_of("status", (*InputDatasetState, *OutputDatasetState)),
    sa.CheckConstraint(
        "type IN ('input', 'pseudo_input', 'output', 'log', 'lib', 'tmpl_output', 'tmpl_log')", name="type"
    ),
    sa.Index(None, "status"),
    sqlite_autoincrement=True,
    postgresql_with=updated_often(fillfactor=80),  # counters
)

files = sa.Table(
    "files",
    metadata,
    numbered("fileid"),
    sa.Column("datasetid", Id, sa.ForeignKey("datasets.datasetid", ondelete="CASCADE"), nullable=False),
    sa.Column("jeditaskid", Id, nullable=False),
    word("lfn", 255, nullable=False),
    word("scope", 64),
    word("guid", 64),
    word("status", 20, nullable=False),
    word("url", 1024),
    sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
    word("checksum", 64),  # "ad:<8 hex digits>"
    sa.Column("n_events", sa.BigInteger),
    count("first_event"),  # of a file that is cut at event boundaries: each part is a row
    sa.Column("attempt_nr", sa.Integer, nullable=False, server_default="0"),  # of the last job that took it
    sa.Column("failed_attempts", sa.Integer, nullable=False, server_default="0"),  # those charged to the file
    sa.Column("free_attempts", sa.Integer, nullable=False, server_default="0"),  # failed ones that were not charged
    sa.Column("max_attempt", sa.Integer, nullable=False, server_default="3"),
    sa.Column("pandaid", Id),  # the one job that owns it now
    sa.Column("needsid", Id),  # what its next job must have, if more than the task says: a row of `input_needs`
    sa.UniqueConstraint("datasetid", "lfn", "first_event"),
    one_of("status", InputFileState),
    only_on(
        HAVE_BOOLEANS,
        sa.CheckConstraint("(status IN ('picked', 'running')) = (pandaid IS NOT NULL)", name="owned"),
    ),
    sa.Index("ix_files_ready", "datasetid", "fileid", **only("status = 'ready'")),
    sa.Index(None, "jeditaskid"),
    sqlite_autoincrement=True,
    postgresql_with=changing(),
)

events = sa.Table(
    "events",
    metadata,
    numbered("eventid"),
    sa.Column("jeditaskid", Id, nullable=False),
    sa.Column("datasetid", Id, sa.ForeignKey("datasets.datasetid", ondelete="CASCADE"), nullable=False),
    sa.Column("fileid", Id, sa.ForeignKey("files.fileid", ondelete="CASCADE"), nullable=False),
    sa.Column("pandaid", Id),  # the job that may process it, or has done so
    sa.Column("attempt_nr", sa.Integer, nullable=False, server_default="0"),  # counts hand-outs; the fence of reports
    sa.Column("max_attempt", sa.Integer, nullable=False, server_default="3"),
    word("status", 20, nullable=False),
    sa.Column("first_event", sa.BigInteger, nullable=False),
    sa.Column("last_event", sa.BigInteger, nullable=False),
    sa.Column("outputs", Json),  # of a finished range: {datasetid: {lfn, guid, size_bytes, checksum, url, storage}}
    word("error_diag", 500),
    sa.UniqueConstraint("fileid", "first_event"),
    one_of("status", EventState),
    sa.Index(None, "pandaid"),
    postgresql_with=changing(),
)

task_events = sa.Table(
    "task_events",
    metadata,
    numbered("id"),
    sa.Column("jeditaskid", Id, nullable=False),
    word("old_status", 20),
    word("new_status", 20, nullable=False),
    word("actor", 128, nullable=False),  # the agent, chore or user that moved it
    word("why", 1024, nullable=False),
    word("request_id", 64),
    moment("at", nullable=False),
    sa.Index(None, "jeditaskid", "id"),
)

commands = sa.Table(
    "commands",
    metadata,
    numbered("commandid"),
    sa.Column("jeditaskid", Id, sa.ForeignKey("tasks.jeditaskid", ondelete="CASCADE"), nullable=False),
    word("command", 20, nullable=False),
    sa.Column("parameters", Json, nullable=False),
    word("user_name", 128, nullable=False),
    word("status", 10, nullable=False),  # queued, done, refused
    word("answer", 1024),
    word("request_id", 64),
    moment("created_at", nullable=False),
    moment("done_at"),
    sa.CheckConstraint("status IN ('queued', 'done', 'refused')", name="status"),
    sa.Index("ix_commands_queued", "jeditaskid", "commandid", **only("status = 'queued'")),
)

decisions = sa.Table(
    "decisions",
    metadata,
    numbered("id"),
    sa.Column("jeditaskid", Id),
    sa.Column("pandaid", Id),
    word("queue", 128),
    word("actor", 128, nullable=False),
    word("what", 255, nullable=False),  # what was decided, in a few words
    sa.Column("why", Json, nullable=False),  # the gates passed and the counts they removed
    count("repeated"),  # how often the same was decided again
    moment("at", nullable=False),
    moment("last_at", nullable=False),
    sa.Index(None, "jeditaskid", "id"),
    sa.Index(None, "last_at"),
    postgresql_with=updated_often(fillfactor=90),  # how often the same was decided
)

#: Where the inputs of active tasks are (manual ch. 21.1.1): files of a dataset at a storage.
dataset_locality = sa.Table(
    "dataset_locality",
    metadata,
    sa.Column(
        "datasetid",
        Id,
        sa.ForeignKey("datasets.datasetid", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    word("storage", 128, primary_key=True),
    sa.Column("jeditaskid", Id, nullable=False),
    count("n_files"),
    count("size_bytes"),
    moment("checked_at", nullable=False),
    sa.Index(None, "jeditaskid"),
)

#: Tasks that the Queue Filler has tied to a queue for a while (manual ch. 21.1.3).
preassignments = sa.Table(
    "preassignments",
    metadata,
    sa.Column(
        "jeditaskid", Id, sa.ForeignKey("tasks.jeditaskid", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    word("queue", 128, nullable=False),
    flag("is_refused"),  # the brokerage did not send its jobs there: it is tied no longer, and not to be tied again
    moment("at", nullable=False),
    sa.Index(None, "queue"),
)

#: Ends of tasks that are to be told to their users: one row for each end.
notifications = sa.Table(
    "notifications",
    metadata,
    numbered("notificationid"),
    sa.Column("jeditaskid", Id, sa.ForeignKey("tasks.jeditaskid", ondelete="CASCADE"), nullable=False),
    word("status", 20, nullable=False),  # the state in which the task ended
    word("why", 1024, nullable=False),
    moment("at", nullable=False),
    word("delivery", 10, nullable=False, server_default="waiting"),  # waiting, told, given_up
    word("how", 512),  # what the plugin did, or its last error
    count("attempts"),
    moment("next_try_at"),
    moment("told_at"),
    sa.CheckConstraint("delivery IN ('waiting', 'told', 'given_up')", name="delivery"),
    sa.Index(None, "jeditaskid"),
    sa.Index("ix_notifications_waiting", "notificationid", **only("delivery = 'waiting'")),
    sqlite_autoincrement=True,
)
