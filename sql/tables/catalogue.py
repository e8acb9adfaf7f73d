"""The built-in data catalogue: datasets of files that every pilot can reach by their URL."""

from __future__ import annotations

import sqlalchemy as sa

from ..types import Id
from .base import metadata, moment, numbered, word

catalogue_datasets = sa.Table(
    "catalogue_datasets",
    metadata,
    numbered("dataset_id"),
    word("name", 255, nullable=False, unique=True),
    word("scope", 64),
    word("user_name", 128, nullable=False),
    moment("created_at", nullable=False),
    sqlite_autoincrement=True,
)

catalogue_files = sa.Table(
    "catalogue_files",
    metadata,
    numbered("file_id"),
    sa.Column("dataset_id", Id, sa.ForeignKey("catalogue_datasets.dataset_id", ondelete="CASCADE"), nullable=False),
    word("lfn", 255, nullable=False),
    word("scope", 64),
    word("guid", 64, nullable=False),
    word("url", 1024, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    word("adler32", 8, nullable=False),
    sa.Column("n_events", sa.BigInteger),
    sa.Column("pandaid", Id),  # the job that made it, if one of ours did
    moment("created_at", nullable=False),
    sa.UniqueConstraint("dataset_id", "lfn"),
    sqlite_autoincrement=True,
)
