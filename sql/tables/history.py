"""What jobs did over time, kept so that no page counts a million of them."""

from __future__ import annotations

import sqlalchemy as sa

from .base import changing, count, metadata, moment, word

#: How long one row of both tables stands for.
STEP_SECONDS = 600


def _keys() -> list[sa.Column[str]]:
    """By what jobs are counted."""
    return [
        word("queue", 128, primary_key=True),
        word("gshare", primary_key=True),
        word("user_name", 128, primary_key=True),
        word("prod_source_label", primary_key=True),
        word("status", 20, primary_key=True),
    ]


#: Jobs that ended within ten minutes.
job_endings = sa.Table(
    "job_endings",
    metadata,
    moment("at", primary_key=True),  # when the ten minutes began
    *_keys(),
    word("cause", 40, primary_key=True),  # of a failure, as source:code; empty where none is told
    count("n_jobs"),
    count("core_seconds"),  # wall time times cores
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0", default=0),
    count("n_input_files"),
    count("input_bytes"),
    postgresql_with=changing(),
)

#: Jobs that were not over at a moment.
job_samples = sa.Table(
    "job_samples",
    metadata,
    moment("at", primary_key=True),
    *_keys(),
    count("n_jobs"),
    count("n_cores"),
)
