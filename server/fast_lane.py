"""Plain heartbeats, nine requests of ten, many at a time and without Flask.

What counts as one, who may send it and what it is answered is decided by the same functions as behind
/api/v1/pilot/update_job. Whatever is anything else (another report, a token that is not known yet, a job that is not
as the report says, a database that does not answer) is left to that route, which is then told as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ..core.errors import BambooError
from ..sql import job_queries
from .api.pilot import told
from .auth.door import Door, bearer
from .bodies import arguments_in, check_arguments
from .context import Context
from .envelope import json_text
from .heartbeats import may_be_collected
from .pilot_orders import lease_seconds
from .pilot_reports import PilotReport

METHOD, PATH = "POST", "/api/v1/pilot/update_job"
#: Larger ones bring more than a heartbeat has to say.
MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Beat:
    """A request that may be a heartbeat, as it came."""

    authorization: str
    origin: str
    body: bytes


class FastLane:
    """Answers heartbeats. Used by one thread at a time."""

    def __init__(self, context: Context, door: Door) -> None:
        self._context = context
        self._door = door

    def answers(self, beats: Sequence[Beat]) -> list[bytes | None]:
        """The bodies of the answers, all with status 200; None for what is not for this lane."""
        try:
            return self._answers(beats)
        except (sa.exc.SQLAlchemyError, BambooError):
            return [None] * len(beats)

    def _answers(self, beats: Sequence[Beat]) -> list[bytes | None]:
        now = self._context.now()
        reports = [self._report(beat, now) for beat in beats]
        ids = [report.job_id for report in reports if report is not None]
        if not ids:
            return [None] * len(beats)
        with self._context.looking() as tx:
            jobs = job_queries.look_for_reports(tx, ids)
        return [None if report is None else self._answer(report, jobs.get(report.job_id), now) for report in reports]

    def _report(self, beat: Beat, now: datetime) -> PilotReport | None:
        """The report in a request whose sender is known as a pilot, if it may be a plain heartbeat."""
        door = self._door
        if door.keys is None:
            return None
        try:
            caller = door.memory.find(bearer(beat.authorization), beat.origin, door.keys, now)
            if caller is None or not caller.is_pilot:
                return None
            report = check_arguments(PilotReport, arguments_in(beat.body, MAX_BYTES))
        except BambooError:
            return None
        return report if may_be_collected(report) else None

    def _answer(self, report: PilotReport, job: object, now: datetime) -> bytes | None:
        if job is None:
            return None
        seconds = lease_seconds(self._context.settings.server, report.pilot_id)
        accepted = self._context.heartbeats.take(job, report, lease_seconds=seconds, now=now)
        return None if accepted is None else json_text(told(accepted)).encode()
