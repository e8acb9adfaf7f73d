"""Adder: books the end of jobs whose pilots have reported it (manual ch. 7.2.3).

A page of jobs is one transaction. If it fails, each of its jobs is tried alone, and one that fails alone is put off;
after its third try it is booked as failed, so that the queue never blocks. The tries are counted in `substatus` of
the row, before each of them, because the count must outlive a process that dies over a job.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.errors import Retriable, Unavailable
from ...core.job_errors import NOT_BOOKED
from ...core.states import JobState
from ...sql import accounting, jobs, merging
from ...sql.accounting import Ending, MadeFile
from ...sql.error_words import in_words
from ...sql.jobs import JobRef
from ...sql.retries import Scopes
from ...sql.tables import jobs as table
from .. import booking
from ..context import Context
from ..errors import NOT_THE_ITEMS_FAULT
from ..judging import Verdict, judge

log = logging.getLogger(__name__)

ACTOR = "adder"
PAGE = 500
#: One run books at most this many pages; with `loop` the next run follows at once.
PAGES = 50
#: What `substatus` says after each try alone, and how long the job is then left alone.
PUT_OFF = {
    "unbooked-1": timedelta(seconds=10),
    "unbooked-2": timedelta(minutes=10),
    "unbooked-3": timedelta(minutes=10),
}

#: A job that was booked: its task, and how it ended.
Booked = tuple[int, Ending]


@dataclass
class Added:
    """What a run of the adder booked."""

    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    merging: int = 0
    put_off: int = 0
    tasks_completed: int = 0

    def count(self, booked: Iterable[Booked]) -> None:
        for _, ending in booked:
            setattr(self, str(ending.to), getattr(self, str(ending.to)) + 1)


class Adder:
    """Takes jobs out of `holding`: outputs are registered, inputs accounted for, tasks completed."""

    name = ACTOR

    def __init__(self, context: Context) -> None:
        self.context = context

    def run_once(self) -> Added:
        """Book the jobs that are `holding`, page by page in the order of their ids, then those that were put off."""
        report = Added()
        after = 0
        for _ in range(PAGES):
            held, booked = self._page(after, report)
            self._close(booked, report)
            if len(held) < PAGE:
                break
            after = held[-1].pandaid
        for job in self._put_off_before():
            self._close(self._book_alone(job, report), report)
        return report

    def _close(self, booked: Sequence[Booked], report: Added) -> None:
        report.count(booked)
        tasks = {jeditaskid for jeditaskid, _ in booked}
        report.tasks_completed += booking.complete_tasks(self.context, tasks, actor=ACTOR)

    def _page(self, after: int, report: Added) -> tuple[list[JobRef], list[Booked]]:
        """Book a page of jobs together; alone if that fails, or if a process died over the (now) first page."""
        held: list[JobRef] = []
        together = after > 0 or not self.context.after_crash
        try:
            with self.context.begin() as tx:
                held = jobs.refs(tx, *_fresh(), after=after, limit=PAGE, lock=True)
                if together:
                    return held, self._book(tx, held)
        except NOT_THE_ITEMS_FAULT:
            raise
        except Exception:  # whatever it is: it may be the fault of one job only
            if not held:
                raise
            log.warning("page not booked: its jobs are tried alone", exc_info=True, extra={"event": "page_not_booked"})
        return held, [one for job in held for one in self._book_alone(job, report)]

    def _book(self, tx: sa.Connection, held: Sequence[JobRef]) -> list[Booked]:
        """Book jobs that this transaction holds."""
        now = self.context.clock()
        ids = [job.pandaid for job in held]
        rows = jobs.rows_of(tx, held, booking.COLUMNS)
        files, reports = accounting.job_files_of(tx, ids), accounting.reports_of(tx, ids)
        scopes = Scopes(tx)
        left_alone = merging.left_alone(tx, [row.pandaid for row in rows if row.kind == "merge"])
        verdicts = [
            judge(row, files[row.pandaid], reports.get(row.pandaid, {}), left_alone=row.pandaid in left_alone)
            for row in rows
        ]
        endings = [
            self._ending(scopes, row, files[row.pandaid], verdict) for row, verdict in zip(rows, verdicts, strict=True)
        ]
        self._register(tx, rows, endings, now)
        booked = {ending.job.pandaid: ending for ending in accounting.book(tx, endings, actor=ACTOR, now=now)}
        return [(row.jeditaskid, booked[row.pandaid]) for row in rows if row.pandaid in booked]

    def _ending(self, scopes: Scopes, job: Any, job_files: Sequence[Any], verdict: Verdict) -> Ending:
        errors = {**verdict.errors, **({"substatus": None} if job.substatus in PUT_OFF else {})}
        if verdict.to is JobState.FAILED:
            return booking.failed(
                scopes, self.context.plugins, job, job_files, why=verdict.why, errors=errors, made=verdict.made
            )
        return Ending(jobs.ref(job), verdict.to, verdict.why, verdict.made, errors=errors)

    def _register(self, tx: sa.Connection, rows: Sequence[Any], endings: Sequence[Ending], now: datetime) -> None:
        """Hand the outputs to the catalogue of their organisation, those of one user together.

        By dataset name, so that two adders that make the same datasets never wait for each other in a circle.
        """
        made: dict[tuple[str, str, str], list[MadeFile]] = defaultdict(list)
        for row, ending in zip(rows, endings, strict=True):
            made[(row.vo, row.prod_source_label, row.user_name)] += ending.made
        for (vo, label, user_name), some in sorted(made.items(), key=lambda group: group[0]):
            if some:
                some.sort(key=lambda file: (file.dataset_name, file.row_id))
                self.context.plugins.first(
                    "adder", "register_outputs", vo, label, tx=tx, made=some, user_name=user_name, now=now
                )

    def _put_off_before(self) -> list[JobRef]:
        """Jobs that were tried alone before, and whose time has come again."""
        now = self.context.clock()
        due = [
            sa.and_(table.c.substatus == mark, table.c.modified_at <= now - pause) for mark, pause in PUT_OFF.items()
        ]
        with self.context.reading() as tx:
            return jobs.refs(tx, jobs.is_in(JobState.HOLDING), sa.or_(*due), limit=PAGE)

    def _book_alone(self, job: JobRef, report: Added) -> list[Booked]:
        """Try one job, or book it as failed when it was tried often enough."""
        tries = self._count_try(job)
        if tries > len(PUT_OFF):
            return self._give_up(job, "the process that tried to book it died")
        try:
            with self.context.begin() as tx:
                return self._book(tx, jobs.refs(tx, *_still(job), lock=True))
        except NOT_THE_ITEMS_FAULT:
            raise
        except (Retriable, Unavailable) as error:
            log.warning(
                "job not booked yet", extra={"event": "not_booked_yet", "pandaid": job.pandaid, "why": str(error)}
            )
            self._mark(job, tries - 1)
        except Exception as error:  # whatever it is: one bad job never blocks the others
            log.exception("job not booked", extra={"event": "job_not_booked", "pandaid": job.pandaid, "tries": tries})
            if tries == len(PUT_OFF):
                return self._give_up(job, in_words(error))
            report.put_off += 1
        return []

    def _count_try(self, job: JobRef) -> int:
        """Note on the row that the job is tried alone now; returns for which time."""
        with self.context.reading() as tx:
            marks = {row.substatus for row in jobs.rows_of(tx, [job])}
        tries = 1 + max((n for n, mark in enumerate(PUT_OFF, 1) if mark in marks), default=0)
        if tries <= len(PUT_OFF):
            self._mark(job, tries)
        return tries

    def _mark(self, job: JobRef, tries: int) -> None:
        with self.context.begin() as tx:
            jobs.note(tx, job, now=self.context.clock(), substatus=[None, *PUT_OFF][tries])

    def _give_up(self, job: JobRef, reason: str) -> list[Booked]:
        """Book a job as failed without its outputs and without asking a plugin."""
        why = f"{NOT_BOOKED.meaning}: {reason}"
        errors = {**NOT_BOOKED.columns(why), "substatus": None}
        with self.context.begin() as tx:
            held = jobs.refs(tx, *_still(job), lock=True)
            files = accounting.job_files_of(tx, [job.pandaid for job in held])
            rows = jobs.rows_of(tx, held)
            endings = [booking.failed_unasked(row, files[row.pandaid], why=why, errors=errors) for row in rows]
            booked = accounting.book(tx, endings, actor=ACTOR, now=self.context.clock())
        return [(row.jeditaskid, ending) for row, ending in zip(rows, booked, strict=False)]


def _fresh() -> tuple[sa.ColumnElement[bool], ...]:
    """Jobs that wait to be booked and were never tried alone."""
    never = sa.or_(table.c.substatus.is_(None), table.c.substatus.not_in(list(PUT_OFF)))
    return jobs.is_in(JobState.HOLDING), never


def _still(job: JobRef) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.pandaid == job.pandaid, table.c.attempt_nr == job.attempt_nr, table.c.status == JobState.HOLDING


def build(context: Context, arguments: Sequence[object] = ()) -> Adder:
    """The chore."""
    return Adder(context)
