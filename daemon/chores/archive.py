"""Archive: keeps the table of live jobs small, and forgets what is older than the retention says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.tunables import tunable
from ...sql import archive, decisions, settings
from ..context import Context

PAGE = 1000
PAGES = 20
KEEP_PER_TASK = tunable(
    "pandaserver",
    "decisions",
    "KEEP_PER_TASK",
    100,
    unit="decisions",
    source="our choice: `bamboo task why` shows the last twenty",
    help="What was decided about a task is forgotten when so many newer decisions about it are on record.",
)
KEEP_DAYS = tunable(
    "pandaserver",
    "decisions",
    "KEEP_DAYS",
    90.0,
    unit="days",
    source="our choice: longer than a task may be without a change (manual ch. 21)",
    help="Decisions that were last taken so long ago are forgotten.",
)


@dataclass
class Archived:
    """What a run of the archive did."""

    archived: int = 0
    forgotten: int = 0
    decisions: int = 0  # forgotten


class Archive:
    """Moves jobs that are over to `archived_jobs`, and forgets old ones; the same with decisions."""

    name = "archive"

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Archived:
        """Archive and forget page by page, each page a transaction."""
        retention = self.context.settings.retention
        now = self.context.clock()
        report = Archived()
        for _ in range(PAGES):
            with self.context.begin() as tx:
                n = archive.archive_jobs(tx, before=now - timedelta(days=retention.archive_jobs), limit=PAGE)
            report.archived += n
            if n < PAGE:
                break
        for _ in range(PAGES):
            with self.context.begin() as tx:
                n = archive.forget_jobs(tx, before=now - timedelta(days=retention.archived_jobs), limit=PAGE)
            report.forgotten += n
            if n < PAGE:
                break
        report.decisions = self._trim_decisions(now)
        return report

    def _trim_decisions(self, now: datetime) -> int:
        with self.context.reading() as tx:
            numbers = settings.numbers(tx)
        before, keep = now - timedelta(days=numbers(KEEP_DAYS)), max(1, numbers(KEEP_PER_TASK))
        forgotten, after = 0, 0
        while True:
            with self.context.begin() as tx:
                after, n = decisions.trim(tx, after=after, before=before, keep=keep, limit=PAGE)
            forgotten += n
            if not after:
                return forgotten


def build(context: Context, arguments: Sequence[object] = ()) -> Archive:
    """The chore."""
    return Archive(context)
