"""What jobs did over time, kept so that no page counts a million of them."""

from __future__ import annotations

import sqlalchemy as sa

from ..types import Id
from .base import changing, count, metadata, moment, updated_often, word

#: How long one row of both tables stands for.
STEP_SECONDS = 600


def _keys() -> list[sa.Column[str]]:
    """Sums are kept by one property of jobs at a time: those by two at once would be about as many as jobs."""
    return [
        word("dimension", 20, primary_key=True),  # a column of jobs, such as queue; empty: all jobs
        moment("at", primary_key=True),  # when the ten minutes began
        word("value", 128, primary_key=True),  # of that column
        word("status", 20, primary_key=True),
    ]


#: Jobs that ended within ten minutes.
job_endings = sa.Table(
    "job_endings",
    metadata,
    *_keys(),
    word("cause", 40, primary_key=True),  # of a failure, as source:code; empty where none is told
    count("n_jobs"),
    count("core_seconds"),  # wall time times cores
    sa.Column("cpu_seconds", sa.Float, nullable=False, server_default="0", default=0),
    count("n_input_files"),
    count("input_bytes"),
    sa.Index("ix_job_endings_value", "dimension", "value", "at"),
    postgresql_with=changing(),
)

#: Jobs that were not over at a moment.
job_samples = sa.Table(
    "job_samples",
    metadata,
    *_keys(),
    count("n_jobs"),
    count("n_cores"),
    sa.Index("ix_job_samples_value", "dimension", "value", "at"),
)

#: What job brokers said of queues, by the hour.
queue_verdicts = sa.Table(
    "queue_verdicts",
    metadata,
    word("queue", 128, primary_key=True),
    moment("at", primary_key=True),  # when the hour began
    word("gate", 128, primary_key=True),  # that kept the queue out; empty: it fits
    count("n"),  # how often brokers were asked
    sa.Column("jeditaskid", Id),  # the last task for which
    moment("last_at"),
    sa.Index("ix_queue_verdicts_at", "at"),
    postgresql_with=updated_often(fillfactor=70),
)
