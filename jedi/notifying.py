"""Tells users how their tasks ended (manual ch. 7.1.2: the Post Processor dispatches mails to task owners)."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from ..core.errors import BambooError
from ..core.states import TaskState
from ..core.tunables import Numbers, tunable
from ..plugins.contracts import Ending, Tally, TaskView, from_row
from ..sql import notifications, task_queries, tasks
from ..sql.engine import reading
from .context import Context

log = logging.getLogger(__name__)

TRIES = tunable(
    "jedi",
    "notifier",
    "TRIES",
    10,
    unit="attempts",
    source="our choice: with the pause between them, a mail server may be down for most of a day",
    help="How often it is tried to tell an end before it is given up.",
)
PAUSE_SECONDS = tunable(
    "jedi",
    "notifier",
    "PAUSE_SECONDS",
    120.0,
    unit="s",
    source="our choice",
    help="The pause before the second attempt; it doubles from attempt to attempt.",
)
CLAIM_SECONDS = tunable(
    "jedi",
    "notifier",
    "CLAIM_SECONDS",
    900.0,
    unit="s",
    source="as long as a round of an agent may take ([master] round_seconds)",
    help="When another process may tell an end whose teller has died.",
)
#: How far the pause doubles, and where it ends: a moment after that is not in the calendar.
DOUBLINGS, LONGEST_PAUSE = 20, timedelta(days=30)
#: Ends that are told in one round.
PAGE = 20


def tell_ends(context: Context) -> int:
    """Call the hook `notify` for ends that were not told yet; returns how many were.

    Each is told once; twice only if the process dies between the plugin's work and the note of it.
    """
    now = context.clock()
    numbers = context.numbers()
    until = now + timedelta(seconds=numbers(CLAIM_SECONDS))
    with context.engine.begin() as tx:
        claimed = notifications.claim(tx, until=until, now=now, limit=PAGE)
    return sum(_tell(context, row, numbers) for row in claimed)


def _tell(context: Context, row: sa.Row[Any], numbers: Numbers) -> bool:
    with reading(context.engine) as tx:
        task = tasks.get_task(tx, row.jeditaskid)
        counts = task_queries.file_counts(tx, [row.jeditaskid]).get(row.jeditaskid, task_queries.FileCounts())
        wanted = not tasks.get_parameters(tx, row.jeditaskid).get("noEmail")
    tally = Tally(counts.n_files, counts.n_files_finished, counts.n_files_failed + counts.n_files_missing)
    ending = Ending(TaskState(row.status), row.why, row.at, tally, wanted)
    view = from_row(TaskView, task)
    try:
        how = str(context.plugins.first("notify", "notify", task.vo, task.prod_source_label, task=view, ending=ending))
    except BambooError as error:
        _put_off(context, row, str(error), numbers)
        return False
    with context.engine.begin() as tx:
        notifications.settle(tx, row.notificationid, "told", how, now=context.clock())
    return True


def _put_off(context: Context, row: sa.Row[Any], why: str, numbers: Numbers) -> None:
    log.warning("end of a task not told", extra={"event": "end_not_told", "task": row.jeditaskid, "why": why})
    now = context.clock()
    pause = timedelta(seconds=numbers(PAUSE_SECONDS)) * 2 ** min(row.attempts - 1, DOUBLINGS)
    with context.engine.begin() as tx:
        if row.attempts >= numbers(TRIES):
            notifications.settle(tx, row.notificationid, "given_up", why, now=now)
        else:
            notifications.put_off(tx, row.notificationid, why, until=now + min(pause, LONGEST_PAUSE))
