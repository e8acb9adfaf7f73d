"""Collects the heartbeats of running jobs, and writes those of about a second in one statement.

Only a report that changes nothing but figures is collected: losing it costs nothing, as the next one comes. What the
pilot is told of its lease is therefore what the database says already, and never a renewal that is still to be
written: a server that dies with its heartbeats has promised nothing.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..core.states import JobState
from ..sql import heartbeats
from ..sql.heartbeats import Heartbeat
from .pilot_orders import Accepted, accepted_by

if TYPE_CHECKING:
    from .pilot_reports import PilotReport

log = logging.getLogger(__name__)

#: What the database says, or what is said for it, when it is away: to ask again for each would help nobody.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
#: Written at once when there are so many.
MOST = 5000


def may_be_collected(report: PilotReport) -> bool:
    """Whether a report, by itself, looks like a plain heartbeat."""
    return report.job_status == "running" and not report.meta_data


class Heartbeats:
    """The heartbeats that one process has heard and not yet written."""

    def __init__(self, engine: sa.Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._lock = threading.Lock()
        self._heard: dict[int, Heartbeat] = {}
        self._timer: threading.Timer | None = None

    def take(self, job: Any, report: PilotReport, *, lease_seconds: int, now: datetime) -> Accepted | None:
        """Collect a report on a job if it is a plain heartbeat; the answer tells what is left of the lease.

        None for every other report, which has to be written before it is answered.
        """
        if not self._seconds or not may_be_collected(report):
            return None
        if job.status != JobState.RUNNING or job.attempt_nr != report.attempt_nr:
            return None
        left = int((job.lease_until - now).total_seconds()) if job.lease_until else 0
        if left < lease_seconds // 2:  # few heartbeats, or a short lease: this one is worth a transaction
            return None
        columns = {**report.job_columns(), "substatus": report.job_sub_status}
        until = now + timedelta(seconds=lease_seconds)
        records = () if report.record is None else (report.record.told(),)
        self._add(Heartbeat(report.job_id, report.attempt_nr, until, now, columns, report.report_columns(), records))
        return accepted_by(job, report, left)

    def _add(self, beat: Heartbeat) -> None:
        with self._lock:
            before = self._heard.get(beat.pandaid)
            if before is not None and before.attempt_nr == beat.attempt_nr:
                columns, report = {**before.columns, **beat.columns}, {**before.report, **beat.report}
                beat = replace(beat, columns=columns, report=report, records=before.records + beat.records)
            self._heard[beat.pandaid] = beat
            at_once = len(self._heard) >= MOST
            if self._timer is None:
                self._timer = threading.Timer(self._seconds, self.write)
                self._timer.daemon = True
                self._timer.start()
        if at_once:
            self.write()

    def write(self) -> None:
        """Write what was heard. What cannot be written is lost, and told in the log: the pilots will say it again."""
        with self._lock:
            heard, self._heard = list(self._heard.values()), {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if not heard:
            return
        error = self._write(heard)
        if error is not None and not isinstance(error, AWAY):
            # One that the database does not take costs nobody else a lease.
            heard = [beat for beat in heard if self._write([beat]) is not None]
        if error is not None and heard:
            what = {"event": "heartbeats_lost", "n": len(heard), "error": str(error)[:500]}
            log.warning("heartbeats could not be written", extra=what)

    def _write(self, heard: list[Heartbeat]) -> Exception | None:
        """Write heartbeats together; what kept them from being written."""
        try:
            with self._engine.begin() as tx:
                heartbeats.write(tx, heard)
        except (sa.exc.SQLAlchemyError, ValueError, OverflowError) as error:
            return error
        return None
