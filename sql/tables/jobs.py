"""Jobs, the files of each attempt, what they reported, and what happened to them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ...core.states import JOBS, LEASED, QUEUED, InputFileState, JobState, OutputFileState
from ..types import Id, Json, LongText
from .base import (
    HAVE_BOOLEANS,
    HAVE_PARTIAL_INDEXES,
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

#: Who can be at fault for a failed job; each has an error code and a text (conventions.md 2.1).
ERROR_SOURCES = ("pilot", "exe", "sup", "ddm", "brokerage", "job_dispatcher", "task_buffer")


def _job_columns() -> list[sa.Column[Any]]:
    """The columns of a job, for the table of live jobs and for the archive."""
    return [*_work_columns(), *_attempt_columns()]


def _work_columns() -> list[sa.Column[Any]]:
    """What a job is and what it asks for."""
    return [
        sa.Column("jeditaskid", Id, nullable=False),
        word("status", 20, nullable=False),
        word("substatus", 40),
        sa.Column("attempt_nr", sa.Integer, nullable=False),  # the fence: only this attempt may write
        sa.Column("serial_nr", sa.BigInteger, nullable=False),  # ${SN}
        word("queue", 128, nullable=False),
        sa.Column("current_priority", sa.Integer, nullable=False),
        word("gshare", nullable=False),
        word("resource_type", 32, nullable=False),
        word("prod_source_label", nullable=False),
        word("vo", nullable=False),
        word("user_name", 128, nullable=False),
        word("working_group"),
        word("processing_type", 128),
        word("transformation", 1024, nullable=False),
        word("container_name", 512),
        sa.Column("core_count", sa.Integer, nullable=False),
        sa.Column("min_ram_count_mb", sa.Integer, nullable=False),
        sa.Column("max_disk_count_mb", sa.Integer, nullable=False),
        sa.Column("max_walltime_seconds", sa.Integer, nullable=False),
        sa.Column("n_input_files", sa.Integer, nullable=False),
        sa.Column("input_file_bytes", sa.BigInteger, nullable=False),
        sa.Column("n_events", sa.BigInteger),
        flag("is_scout"),
        word("kind", 10, nullable=False, server_default="run"),  # run, build or merge
        flag("to_be_merged"),  # its outputs are inputs of a merge job, and it is finished when that is
        sa.Column("merge_pandaid", Id),  # the merge job that has them now
        sa.Column("merge_attempts", sa.Integer, nullable=False, server_default="0"),
        flag("is_event_service"),  # its pilot asks for event ranges of its input, and reports each
        flag("uses_secrets"),  # its pilot gets the secrets of its user
    ]


def _attempt_columns() -> list[sa.Column[Any]]:
    """Who runs it, what it used, when, and what went wrong."""
    columns: list[sa.Column[Any]] = [
        word("command_to_pilot", 40),
        moment("lease_until"),
        moment("heartbeat_at"),
        word("claim_key", 64),  # names the request that took the job, so that its repetition gets the same
        word("pilot_id", 200),
        word("node", 128),
        word("batch_id", 80),
        word("worker_id", 64),
        word("scheduler_id", 128),
        word("reported_status", 20),  # what the pilot said at the end; the adder decides
        sa.Column("trans_exit_code", sa.Integer),
        sa.Column("cpu_consumption_seconds", sa.Float),
        word("cpu_consumption_unit", 128),
        sa.Column("max_rss_kb", sa.BigInteger),
        sa.Column("max_pss_kb", sa.BigInteger),
        sa.Column("max_vmem_kb", sa.BigInteger),
        sa.Column("work_dir_bytes", sa.BigInteger),  # the most that the work directory held
        sa.Column("tot_rbytes_kb", sa.BigInteger),  # read from the local disk
        sa.Column("tot_wbytes_kb", sa.BigInteger),
        sa.Column("memory_leak_kb_per_second", sa.Float),  # how the memory grew
        moment("created_at", nullable=False),
        moment("modified_at", nullable=False),
        moment("state_changed_at", nullable=False),
        moment("started_at"),
        moment("ended_at"),
        word("retry_rule", 255),  # the retry rules that fired over its failure
    ]
    for source in ERROR_SOURCES:
        columns += [sa.Column(f"{source}_error_code", sa.Integer), word(f"{source}_error_diag", 500)]
    return columns


jobs = sa.Table(
    "jobs",
    metadata,
    numbered("pandaid"),
    *_job_columns(),
    one_of("status", JobState),
    only_on(
        HAVE_BOOLEANS,
        sa.CheckConstraint(f"(status IN ({words(LEASED)})) = (lease_until IS NOT NULL)", name="leased"),
    ),
    # Partial, so that the cost of a claim does not depend on how many jobs there are. The heartbeat and the
    # lease are in no index, so that renewing them stays on the page (measured: performance notes, part 3).
    sa.Index("ix_jobs_claim", "queue", sa.text("current_priority DESC"), "pandaid", **only("status = 'activated'")),
    sa.Index(
        "ix_jobs_claim_share",
        "queue",
        "gshare",
        sa.text("current_priority DESC"),
        "pandaid",
        **only("status = 'activated'"),
    ),
    sa.Index("ix_jobs_leased", "pandaid", **only(f"status IN ({words(LEASED)})")),
    # Requests that are repeated look for what they have been given, and need not look through all that runs.
    sa.Index("ix_jobs_sent", "queue", "claim_key", **only("status = 'sent'")),
    sa.Index("ix_jobs_queued", "status", "queue", "pandaid", **only(f"status IN ({words(QUEUED)})")),
    sa.Index("ix_jobs_holding", "pandaid", **only("status IN ('holding', 'merging', 'transferring')")),
    sa.Index("ix_jobs_merging", "merge_pandaid", "jeditaskid", **only("status = 'merging'")),
    sa.Index("ix_jobs_over", "modified_at", **only(f"status IN ({words(sorted(JOBS.final))})")),
    sa.Index(None, "jeditaskid", "pandaid"),
    sqlite_autoincrement=True,
    postgresql_with=updated_often(fillfactor=85),
)

#: On PostgreSQL a table of partitions by month of `modified_at`, whose primary key has that column too
#: (`sql/archive_partitions.py`). A job that is over is not modified any more.
archived_jobs = sa.Table(
    "archived_jobs",
    metadata,
    sa.Column("pandaid", Id, primary_key=True, autoincrement=False),
    *_job_columns(),
    one_of("status", sorted(JOBS.final)),
    sa.Index(None, "jeditaskid", "pandaid"),
    sa.Index(None, "modified_at"),
)

job_params = sa.Table(
    "job_params",
    metadata,
    sa.Column("pandaid", Id, primary_key=True, autoincrement=False),
    sa.Column("job_parameters", LongText, nullable=False),
    postgresql_with=changing(),
)

job_reports = sa.Table(
    "job_reports",
    metadata,
    sa.Column("pandaid", Id, primary_key=True, autoincrement=False),
    sa.Column("output_report", Json),  # {lfn: {guid, fsize, adler32, surl, endpoint}}
    word("job_metrics", 500),
    word("pilot_timing", 100),
    sa.Column("pilot_log", LongText),
    sa.Column("stdout_tail", LongText),  # the last output the pilot has shown
    postgresql_with=updated_often(fillfactor=80),  # heartbeats bring new ends of outputs
)

#: What pilots note while a job runs (`core/flight_records.py`).
job_records = sa.Table(
    "job_records",
    metadata,
    sa.Column("pandaid", Id, primary_key=True, autoincrement=False),
    sa.Column("samples", Json),  # rows of numbers
    sa.Column("tree", Json),  # the processes at the last look
    sa.Column("stdout", LongText),  # the end of it, up to `stdout_end` bytes after its beginning
    sa.Column("stdout_end", sa.BigInteger),
    sa.Column("stderr", LongText),
    sa.Column("stderr_end", sa.BigInteger),
    sa.Column("pilot_limit_kb", sa.BigInteger),  # memory with which the pilot ends it; 0: none
    sa.Column("kernel_limit_kb", sa.BigInteger),  # memory with which the kernel ends it; 0: the machine's
    sa.Column("oom_kills", sa.Integer),  # processes that the kernel has ended for lack of memory
    moment("updated_at", nullable=False),
    postgresql_with=updated_often(fillfactor=80),
)

job_metadata = sa.Table(
    "job_metadata",
    metadata,
    sa.Column("pandaid", Id, primary_key=True, autoincrement=False),
    sa.Column("jeditaskid", Id, nullable=False),
    sa.Column("metadata", LongText, nullable=False),
    sa.Index(None, "jeditaskid"),
    postgresql_with=changing(),
)

job_files = sa.Table(
    "job_files",
    metadata,
    numbered("row_id"),
    sa.Column("pandaid", Id, nullable=False),
    sa.Column("jeditaskid", Id, nullable=False),
    sa.Column("datasetid", Id, nullable=False),
    sa.Column("fileid", Id),  # of inputs: the file of the task; outputs have none
    word("type", 20, nullable=False),  # input, pseudo_input, output, log, lib
    word("lfn", 255, nullable=False),
    word("scope", 64),
    word("guid", 64),
    word("status", 20, nullable=False),
    sa.Column("size_bytes", sa.BigInteger),
    word("checksum", 64),
    word("url", 1024),
    word("storage", 128),
    count("first_event"),
    count("n_events"),
    flag("may_be_missing"),  # allowNoOutput
    one_of("status", (*InputFileState, *OutputFileState)),
    sa.Index(None, "pandaid"),
    sa.Index(None, "datasetid", "row_id"),
    # Intermediate files that are to be removed one day; where there are no partial indexes, it would hold every row.
    only_on(
        HAVE_PARTIAL_INDEXES,
        sa.Index("ix_job_files_premerged", "row_id", **only("type = 'tmpl_output' AND url IS NOT NULL")),
    ),
    # The promise "every input is accounted for once", held by the database itself.
    only_on(
        HAVE_PARTIAL_INDEXES,
        sa.Index(
            "uq_job_files_input_once",
            "fileid",
            "first_event",
            unique=True,
            **only("status = 'finished' AND fileid IS NOT NULL"),
        ),
    ),
    sqlite_autoincrement=True,
    postgresql_with=changing(),
)

job_events = sa.Table(
    "job_events",
    metadata,
    numbered("id"),
    sa.Column("pandaid", Id, nullable=False),
    sa.Column("attempt_nr", sa.Integer, nullable=False),
    word("old_status", 20),
    word("new_status", 20, nullable=False),
    word("actor", 128, nullable=False),  # the agent, chore, pilot or user that moved it
    word("why", 1024, nullable=False),
    word("request_id", 64),
    moment("at", nullable=False),
    sa.Index(None, "pandaid", "id"),
    postgresql_with=changing(),
)
