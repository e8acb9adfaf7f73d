"""Pilots' reports, nineteen requests of twenty, many at a time and without Flask.

What a report does, who may send it and what it is answered is decided by the same functions as behind
/api/v1/pilot/update_job. Whatever is out of the ordinary (a token that is not known yet, a job that is not as the
report says, metadata, a database that does not answer) is left to that route, which is then told as if nothing had
been. A report that changes a job's state is written before it is answered, as there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..core import logs
from ..core.errors import BambooError
from ..sql import job_queries, steps
from ..sql.steps import Step
from .api.pilot import told, update_job
from .auth.access import access_of
from .auth.caller import Caller
from .auth.door import Door
from .bodies import arguments_in, check_arguments
from .context import Context
from .envelope import json_text
from .job_updates import step_of
from .pilot_orders import Accepted, accepted_by, lease_seconds
from .pilot_reports import PilotReport

log = logging.getLogger(__name__)

METHOD, PATH = "POST", "/api/v1/pilot/update_job"
_ACCESS = access_of(update_job, {})
#: Larger ones are out of the ordinary.
MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Sent:
    """A request with a report, as it came."""

    authorization: str
    origin: str
    request_id: str
    body: bytes


@dataclass(frozen=True)
class Stepping:
    """A report that makes a job take a step, and the body of the answer once it is taken."""

    step: Step
    answer: bytes


@dataclass(frozen=True)
class _Known:
    """A report of a known pilot, with the name of the request."""

    caller: Caller
    report: PilotReport
    request_id: str

    @property
    def is_for_its_attempt(self) -> bool:
        """Whether the token is for the attempt that the report is about, if it is for one alone."""
        return self.caller.attempt in (None, (self.report.job_id, self.report.attempt_nr))


class FastLane:
    """Answers reports, in two stages, as a step has to be on the disk first, for which no heartbeat should wait.

    Each stage is used by one thread at a time. The bodies of answers all have status 200; None stands for what is not
    for this lane.
    """

    def __init__(self, context: Context, door: Door) -> None:
        self._context = context
        self._door = door

    def judge(self, sent: Sequence[Sent]) -> list[bytes | Stepping | None]:
        """The answers to plain heartbeats, and the steps that other reports are about."""
        try:
            now = self._context.now()
            judged = self._judged(self._reports(sent, now), now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the route tells it, or does better
            _log(error)
            judged = {}
        return [judged.get(place) for place in range(len(sent))]

    def take(self, stepping: Sequence[Stepping]) -> list[bytes | None]:
        """Take the steps, all in one transaction; returns the answers to those that were taken."""
        first = {one.step.held.pandaid: one.step for one in reversed(stepping)}  # a job takes one step at a time
        try:
            with self._context.writing() as tx:
                moved = steps.take_all(tx, list(first.values()))
        except Exception as error:  # noqa: BLE001 - as above
            _log(error)
            moved = set()
        mine = [first[one.step.held.pandaid] is one.step and one.step.held.pandaid in moved for one in stepping]
        return [one.answer if is_taken else None for one, is_taken in zip(stepping, mine, strict=True)]

    def _reports(self, sent: Sequence[Sent], now: datetime) -> dict[int, _Known]:
        """The reports of known pilots by their places; one of each job."""
        senders = {(one.authorization, one.origin) for one in sent}
        pilots = {sender: self._known_pilot(*sender, now) for sender in senders}
        found: dict[int, tuple[int, _Known]] = {}
        for place, one in enumerate(sent):
            caller = pilots[one.authorization, one.origin]
            report = None if caller is None else _report(one.body)
            if caller is not None and report is not None and report.job_id not in found:
                found[report.job_id] = (place, _Known(caller, report, one.request_id))
        return dict(found.values())

    def _known_pilot(self, authorization: str, origin: str, now: datetime) -> Caller | None:
        try:
            caller = self._door.known(authorization, origin, now)
        except BambooError:
            return None
        return caller if caller is not None and _ACCESS.admits(caller) else None

    def _judged(self, reports: Mapping[int, _Known], now: datetime) -> dict[int, bytes | Stepping]:
        if not reports:
            return {}
        section = self._context.settings.server
        with self._context.looking() as tx:
            jobs = job_queries.look_for_reports(tx, [known.report.job_id for known in reports.values()])
        judged: dict[int, bytes | Stepping] = {}
        for place, known in reports.items():
            report = known.report
            job: Any = jobs.get(report.job_id)
            if job is None or not known.caller.serves(job.queue) or not known.is_for_its_attempt:
                continue
            seconds = lease_seconds(section, report.pilot_id)
            collected = self._context.heartbeats.take(job, report, lease_seconds=seconds, now=now)
            if collected is not None:
                judged[place] = _body(collected)
                continue
            step = step_of(job, report, lease_seconds=seconds, now=now, request_id=known.request_id)
            if step is not None:
                judged[place] = Stepping(step, _body(accepted_by(job, report, seconds)))
        return judged


def _log(error: Exception) -> None:
    level = logging.WARNING if isinstance(error, sa.exc.SQLAlchemyError | BambooError) else logging.ERROR
    log.log(level, "reports take the usual way", exc_info=error, extra={"event": "fast_lane_left"})


def _body(accepted: Accepted) -> bytes:
    return json_text(told(accepted)).encode()


def _report(body: bytes) -> PilotReport | None:
    """The report in a request, if it is for this lane."""
    try:
        report = check_arguments(PilotReport, arguments_in(body, MAX_BYTES))
    except BambooError:
        return None
    finally:
        logs.forget()  # this thread goes on to the next report
    return None if report.meta_data else report
