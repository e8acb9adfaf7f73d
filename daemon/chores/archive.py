"""Archive: keeps the table of live jobs small, and forgets what is older than the retention says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from ...core.tunables import tunable
from ...sql import archive, archive_partitions, decisions, forgetting, service_rounds, settings, workers
from ...sql.error_words import in_words
from ..context import Context

log = logging.getLogger(__name__)

#: What one transaction moves or deletes at most: it holds its locks for well below a second.
PAGE = 1000
#: One run does no more pages of each kind; with `loop` the next follows at once.
PAGES = 20
#: Services of machines of which nothing is heard any more are shown so long.
SERVICES_KEPT = timedelta(days=1)
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
    tasks: int = 0  # that have no live jobs any more
    forgotten: int = 0
    tasks_forgotten: int = 0
    decisions: int = 0  # forgotten
    workers: int = 0  # forgotten
    services: int = 0  # forgotten, of which nothing was heard for so long


class Archive:
    """Moves jobs that are over to `archived_jobs` and forgets old ones, with their partitions; so with decisions and
    workers."""

    name = "archive"

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Archived:
        """Archive and forget page by page, each page a transaction."""
        retention = self.context.settings.retention
        now = self.context.clock()
        report = Archived()
        until = archive_partitions.next_month(archive_partitions.month_of(now))
        with self._unless_busy():
            self._repeat(lambda tx: archive_partitions.make_next(tx, until=until))
        self._archive(now, now - timedelta(days=retention.archive_jobs), report)
        old = now - timedelta(days=retention.archived_jobs)
        with self._unless_busy():
            self._repeat(lambda tx: archive_partitions.detach_oldest(tx, before=old))
            for n in self._pages(lambda tx: archive.forget_detached(tx, limit=PAGE)):
                report.forgotten += n
        report.forgotten += sum(self._pages(lambda tx: archive.forget_jobs(tx, before=old, limit=PAGE)))
        report.tasks_forgotten = self._forget_tasks(now - timedelta(days=retention.tasks))
        unheard = now - timedelta(days=retention.workers)
        report.workers = sum(self._pages(lambda tx: workers.forget(tx, before=unheard, limit=PAGE)))
        report.decisions = self._trim_decisions(now)
        with self.context.begin() as tx:
            report.services = service_rounds.forget(tx, before=now - SERVICES_KEPT)
        return report

    def _archive(self, now: datetime, before: datetime, report: Archived) -> None:
        after = None
        for _ in range(PAGES):
            with self.context.begin() as tx:
                page = archive.archive_jobs(tx, before=before, now=now, limit=PAGE, after=after)
            report.archived += page.jobs
            report.tasks += page.tasks
            if not page.more:
                return
            after = page.last

    def _forget_tasks(self, before: datetime) -> int:
        n_tasks = 0
        for _ in range(PAGES):
            with self.context.begin() as tx:
                page = forgetting.forget_tasks(tx, before=before, limit=PAGE)
            n_tasks += page.tasks
            if not page.more:
                break
        return n_tasks

    @contextmanager
    def _unless_busy(self) -> Iterator[None]:
        """Change partitions. What cannot be done now, for somebody reads the archive or the role may not, waits for
        the next run: jobs have their place in the archive, and go from it, without that too."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            extra = {"event": "partitions_not_changed", "why": in_words(error)}
            log.warning("the partitions of the archive stay as they are", extra=extra)

    def _repeat(self, change: Callable[[sa.Connection], bool]) -> None:
        """Make a change, each time in a transaction, as long as there is one to make."""
        changed = True
        while changed:
            with self.context.begin() as tx:
                changed = change(tx)

    def _pages(self, forget: Callable[[sa.Connection], int]) -> Iterator[int]:
        """How much each page has forgotten, until nothing is left or the run has done enough."""
        for _ in range(PAGES):
            with self.context.begin() as tx:
                n = forget(tx)
            yield n
            if n < PAGE:
                return

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
