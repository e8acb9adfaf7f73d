"""Watcher: takes back jobs of which nothing is heard, and ends jobs that wait for too long (manual ch. 12.1.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ...core.job_errors import KILLED, LOST_HEARTBEAT, REBROKERED, JobError
from ...core.priorities import USERS, USUAL_OF_USERS
from ...core.states import JobState
from ...core.tunables import Numbers
from ...sql import accounting, counts, files, grid, jobs, queues
from ...sql import settings as shared_settings
from ...sql.accounting import Ending
from ...sql.retries import Scopes
from ...sql.tables import jobs as table
from .. import booking
from ..context import Context
from ..errors import NOT_THE_ITEMS_FAULT
from ..rebrokerage import Overfull, excess_jobs, overfull
from ..timeouts import (
    HEARTBEAT,
    STALLED_HOURS,
    TIMEOUTS,
    UNSPOKEN_CLAIMS,
    URGENT_PRIORITY,
    Only,
    Timeout,
    exempt,
    heartbeat_hours,
    limits,
)

log = logging.getLogger(__name__)

ACTOR = "watcher"
PAGE = 200
#: One run looks at no more pages for each rule; what is left waits for the next run.
PAGES = 50
#: What the pilot that lost a job has left on its row.
FORGET_PILOT = dict.fromkeys(("claim_key", "pilot_id", "node", "batch_id", "scheduler_id", "worker_id", "heartbeat_at"))

#: Ends rows of jobs that its transaction holds: (transaction, rows, whether the retry plugin is asked).
Handle = Callable[[sa.Connection, Sequence[Any], bool], None]
#: Names the error of a job, and what happened in its case.
ErrorOf = Callable[[Any], tuple[JobError, str]]


@dataclass
class Watched:
    """What a run of the watcher did: jobs by what became of them."""

    activated: int = 0
    failed: int = 0
    closed: int = 0
    cancelled: int = 0
    merging: int = 0  # event ranges that are finished, though the pilot is gone
    tasks_completed: int = 0


class Watcher:
    """Keeps every job moving: what nobody works on any more is given back or ended."""

    name = ACTOR

    def __init__(self, context: Context) -> None:
        self.context = context
        self.report = Watched()
        self._tasks: set[int] = set()
        self._numbers_by_vo: dict[str | None, Numbers] = {}

    def run_once(self) -> Watched:
        """Look at the leases that have run out, at each rule of the table of timeouts, and at overfull queues."""
        self.report = Watched()
        self._tasks.clear()
        self._numbers_by_vo.clear()
        self._sweep(jobs.overdue(self.context.clock()), self._take_back)
        with self.context.reading() as tx:
            known = queues.list_queues(tx)
            activity = {row.queue: row.last_start_at for row in grid.activities(tx)}
            counted = counts.of_queues(tx)
            numbers = self._numbers(tx, None)
        excepted = [queue.queue for queue in known if exempt(queue)]
        stalled_since = self.context.clock() - timedelta(hours=numbers(STALLED_HOURS))
        stalled = [queue for queue, last in activity.items() if last is not None and last < stalled_since]
        for rule in TIMEOUTS:
            self._apply(rule, known, excepted, stalled, numbers)
        filled_ahead = [queue.queue for queue in known if queue.attributes.get("numSlots") is not None]
        for crowd in overfull(counted, numbers, {*excepted, *filled_ahead}):
            self._rebroker(crowd, numbers)
        self.report.tasks_completed = booking.complete_tasks(self.context, self._tasks, actor=ACTOR)
        return self.report

    def _numbers(self, tx: sa.Connection, vo: str | None) -> Numbers:
        if vo not in self._numbers_by_vo:
            stored = shared_settings.numbers(tx, vo)
            self._numbers_by_vo[vo] = limits(self.context.settings.timeouts, stored)
        return self._numbers_by_vo[vo]

    def _sweep(self, conditions: Sequence[sa.ColumnElement[bool]], handle: Handle) -> None:
        """Handle all jobs that meet the conditions, a page a transaction; if that fails, a job a transaction.

        A job is chosen and ended in one transaction, so that no heartbeat can come between.
        """
        after = 0
        for _ in range(PAGES):
            held: list[jobs.JobRef] = []
            try:
                with self.context.begin() as tx:
                    held = jobs.refs(tx, *conditions, after=after, limit=PAGE, lock=True)
                    handle(tx, jobs.rows_of(tx, held), True)
            except NOT_THE_ITEMS_FAULT:
                raise
            except Exception:  # whatever it is: it may be the fault of one job only
                if not held:
                    raise
                log.warning("page not ended, trying its jobs alone", exc_info=True, extra={"event": "page_not_ended"})
                self._each_alone(held, conditions, handle)
            if len(held) < PAGE:
                return
            after = held[-1].pandaid

    def _each_alone(
        self, held: Sequence[jobs.JobRef], conditions: Sequence[sa.ColumnElement[bool]], handle: Handle
    ) -> None:
        for job in held:
            try:
                with self.context.begin() as tx:
                    still = jobs.refs(tx, table.c.pandaid == job.pandaid, *conditions, lock=True)
                    handle(tx, jobs.rows_of(tx, still), False)
            except NOT_THE_ITEMS_FAULT:
                raise
            except Exception:  # whatever it is: one bad job never blocks the others
                log.exception("job not ended", extra={"event": "job_not_ended", "pandaid": job.pandaid})

    def _take_back(self, tx: sa.Connection, rows: Sequence[Any], ask: bool) -> None:
        """Offer jobs again of which no pilot ever spoke, a few times; fail those whose pilots have gone quiet."""
        now = self.context.clock()
        lost = [row for row in rows if self._is_lost(tx, row, now)]
        sent = [row for row in lost if row.status == JobState.SENT and row.command_to_pilot != "tobekilled"]
        n_sent = jobs.times_sent(tx, [row.pandaid for row in sent])
        most = {row.pandaid: self._numbers(tx, row.vo)(UNSPOKEN_CLAIMS) for row in sent}
        unspoken = [row for row in sent if n_sent.get(row.pandaid, 0) < most[row.pandaid]]
        moved = jobs.move_jobs(
            tx,
            [jobs.ref(row) for row in unspoken],
            JobState.ACTIVATED,
            actor=ACTOR,
            why="the pilot that took it never spoke of it",
            now=now,
            new_attempt=True,
            **FORGET_PILOT,
        )
        files.follow_attempts(tx, [job.pandaid for job in moved])
        self.report.activated += len(moved)
        given_up = [row for row in sent if row not in unspoken]
        self._end(tx, given_up, ask, JobState.FAILED, lambda job: _never_spoken_of(n_sent[job.pandaid]))
        self._end(tx, [row for row in lost if row not in sent], ask, JobState.FAILED, lost_heartbeat)

    def _is_lost(self, tx: sa.Connection, job: Any, now: datetime) -> bool:
        """Whether a job whose lease has run out is given up: some kinds of work may be quiet for longer."""
        if job.status == JobState.SENT or not job.processing_type:
            return True
        hours = self._numbers(tx, job.vo)(HEARTBEAT, job.processing_type)
        return not hours or last_heard(job) < now - timedelta(hours=hours)

    def _apply(
        self, rule: Timeout, known: Sequence[Any], excepted: Sequence[str], stalled: Sequence[str], numbers: Numbers
    ) -> None:
        """Apply a rule to all queues but those excepted, with the limits that some have of their own."""
        if rule.only is Only.STAGING_OUT:
            for kind, hours in heartbeat_hours(numbers).items():
                its = [table.c.substatus.is_not(None), table.c.processing_type == kind]
                self._time_out(rule, timedelta(hours=hours), [*its, table.c.queue.not_in(excepted)])
            return
        of_users = sa.and_(table.c.prod_source_label.in_(USERS), table.c.current_priority <= USUAL_OF_USERS)
        urgent = sa.and_(table.c.current_priority >= numbers(URGENT_PRIORITY), sa.not_(of_users))
        conditions = {
            Only.ALL: [],
            Only.URGENT: [urgent],
            Only.NOT_URGENT: [sa.not_(urgent)],
            Only.STALLED: [urgent, table.c.queue.in_(stalled)],
        }[rule.only]
        if rule.only is Only.STALLED and not stalled:
            return
        own = {queue.queue: limit for queue in known if (limit := rule.own_limit(queue.attributes)) is not None}
        for limit in sorted(set(own.values())):
            those = [queue for queue in own if own[queue] == limit and queue not in excepted]
            self._time_out(rule, limit, [*conditions, table.c.queue.in_(those)])
        self._time_out(rule, rule.limit(numbers), [*conditions, table.c.queue.not_in([*excepted, *own])])

    def _time_out(self, rule: Timeout, limit: timedelta, those: Sequence[sa.ColumnElement[bool]]) -> None:
        diag = f"{rule.text}: {rule.state} for more than {limit / timedelta(hours=1):g} hours"
        too_long = table.c.state_changed_at < self.context.clock() - limit

        def handle(tx: sa.Connection, rows: Sequence[Any], ask: bool) -> None:
            self._end(tx, rows, ask, rule.to, lambda job: (rule.error, diag))

        self._sweep([jobs.is_in(rule.state), too_long, *those], handle)

    def _rebroker(self, crowd: Overfull, numbers: Numbers) -> None:
        """Give back the inputs of the jobs that are too many at a queue, for new jobs elsewhere."""
        with self.context.reading() as tx:
            those = excess_jobs(tx, self.context.plugins, crowd, numbers, self.context.clock())

        def handle(tx: sa.Connection, rows: Sequence[Any], ask: bool) -> None:
            self._end(tx, rows, ask, JobState.CLOSED, lambda job: (REBROKERED, str(crowd)))

        if those is not None:
            self._sweep(those, handle)

    def _end(self, tx: sa.Connection, rows: Sequence[Any], ask: bool, to: JobState, error_of: ErrorOf) -> None:
        """End jobs as `closed` or `failed`, or as `cancelled` those that were to be killed anyway."""
        files = accounting.job_files_of(tx, [row.pandaid for row in rows])
        now = self.context.clock()
        scopes = Scopes(tx)
        endings = [self._ending(scopes, row, files[row.pandaid], ask, to, error_of(row), now) for row in rows]
        for ending in accounting.book(tx, endings, actor=ACTOR, now=now):
            name = str(ending.to)
            setattr(self.report, name, getattr(self.report, name) + 1)
        self._tasks.update(row.jeditaskid for row in rows)

    def _ending(
        self,
        scopes: Scopes,
        job: Any,
        job_files: Sequence[Any],
        ask: bool,
        to: JobState,
        fault: tuple[JobError, str],
        now: datetime,
    ) -> Ending:
        error, diag = fault
        errors = {**error.columns(diag), **({} if job.ended_at else {"ended_at": now})}
        if job.command_to_pilot == "tobekilled":
            return Ending(jobs.ref(job), JobState.CANCELLED, KILLED.meaning, errors={**errors, **KILLED.columns(diag)})
        if to is JobState.CLOSED:
            return Ending(jobs.ref(job), to, diag, errors=errors)
        if ask:
            return booking.failed(scopes, self.context.plugins, job, job_files, why=diag, errors=errors)
        return booking.failed_unasked(job, job_files, why=diag, errors=errors)


def lost_heartbeat(job: Any) -> tuple[JobError, str]:
    """The error of a job whose pilot has gone quiet, with the moment of its last sign of life."""
    return LOST_HEARTBEAT, f"lost heartbeat: the last one came at {last_heard(job):%Y-%m-%d %H:%M:%S} UTC"


def _never_spoken_of(n: int) -> tuple[JobError, str]:
    return LOST_HEARTBEAT, f"lost heartbeat: {n} pilots took it, and none ever spoke of it"


def last_heard(job: Any) -> datetime:
    """When the pilot of a job last gave a sign of life."""
    moment: datetime = job.heartbeat_at or job.state_changed_at
    return moment


def build(context: Context, arguments: Sequence[object] = ()) -> Watcher:
    """The chore."""
    return Watcher(context)
