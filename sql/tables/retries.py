"""The job retry module (manual ch. 20): its actions and rules, and what inputs need in their next attempts."""

from __future__ import annotations

import sqlalchemy as sa

from ..types import Id, Json
from .base import flag, metadata, moment, numbered, word

retry_actions = sa.Table(
    "retry_actions",
    metadata,
    numbered("retryaction_id"),
    word("name", nullable=False, unique=True),
    flag("active", default=True),  # false: all rules with it are passive
    word("description", 512),
)

retry_errors = sa.Table(
    "retry_errors",
    metadata,
    numbered("retryerror_id"),
    word("name", nullable=False, unique=True),
    sa.Column("retryaction_id", Id, sa.ForeignKey("retry_actions.retryaction_id"), nullable=False),
    word("error_source", 20, nullable=False),
    sa.Column("error_code", sa.Integer),  # null: any
    word("error_diag", 500),  # a regular expression; null: any
    sa.Column("parameters", Json, nullable=False),
    flag("active", default=True),  # false: passive, it only says that it would have fired
    word("architecture", 255),
    word("release"),
    word("work_queue"),
    word("description", 512),
    word("user_name", 128, nullable=False),  # who entered or changed it last
    moment("modified_at", nullable=False),
)

#: What some inputs of a task need since their jobs failed for the lack of it; 0 is no more than the task says.
input_needs = sa.Table(
    "input_needs",
    metadata,
    numbered("needsid"),
    sa.Column("jeditaskid", Id, sa.ForeignKey("tasks.jeditaskid", ondelete="CASCADE"), nullable=False),
    sa.Column("ram_count_mb", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_walltime_seconds", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_files_per_job", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint(
        "jeditaskid", "ram_count_mb", "max_walltime_seconds", "max_files_per_job", name="uq_input_needs_of_task"
    ),
)
