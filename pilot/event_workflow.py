"""The event service: runs the payload once for each event range, and reports each as it finishes (manual ch. 7.1.3).

A range counts as finished when its outputs are on their storage and the server has taken the report: from then on it
survives whatever happens to this pilot. Ranges are asked for one by one, so that a death costs one range an attempt.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable

from .copytools import Guard
from .errors import Cancelled, Code, PilotError, Refused, ServerAway, StaleAttempt
from .job import Job
from .job_spec import number, text
from .report import Reporter, lease_patience
from .slot import Slot
from .stage_out import told_missing, transfer
from .steps import FAILED_STEP_FILE

log = logging.getLogger(__name__)

#: A machine on which so many ranges fail one after the other is not given more of them.
MAX_FAILED_IN_A_ROW = 3
TRIES = 1_000_000  # the lease ends them
DIAG_CHARACTERS = 500


@dataclass(frozen=True)
class EventRange:
    """Events to process: first and last count from 1 within the input file, both included."""

    name: str
    first: int
    last: int

    @classmethod
    def parse(cls, wire: Mapping[str, Any]) -> EventRange:
        """Read a range of the wire; raises Refused when it makes no sense."""
        found = cls(text(wire.get("eventRangeID")), number(wire.get("startEvent")), number(wire.get("lastEvent")))
        if not found.name or "/" in found.name or not 1 <= found.first <= found.last:
            raise Refused(f"the server handed out an event range that makes no sense: {dict(wire)!r:.200}")
        return found

    def fill(self, command: str) -> str:
        """The command with the placeholders for events filled."""
        skipped, wanted = str(self.first - 1), str(self.last - self.first + 1)
        return command.replace("${SKIPEVENTS}", skipped).replace("${MAXEVENTS}", wanted)

    @property
    def variables(self) -> dict[str, str]:
        """What the environment of the payload has."""
        return {
            "EVENT_RANGE_ID": self.name,
            "EVENT_RANGE_FIRST": str(self.first),
            "EVENT_RANGE_LAST": str(self.last),
        }


#: Runs a command for a job with more variables; gives what went wrong, or None.
Run = Callable[[Job, str, Mapping[str, str]], "PilotError | None"]


class EventWorkflow:
    """Works for one job after the other."""

    def __init__(self, slot: Slot, reporter: Reporter) -> None:
        self._slot = slot
        self._reporter = reporter

    def work(self, job: Job, command: str, run: Run) -> None:
        """Process ranges until there are none left, or the job must stop. Failed ranges do not fail the job."""
        failed_in_a_row = n_finished = 0
        try:
            while not (job.interrupted.is_set() or job.draining.is_set()):
                ranges = self._ask(job)
                if not ranges:
                    break
                problem = self._process(job, ranges[0], command, run)
                failed_in_a_row = 0 if problem is None else failed_in_a_row + 1
                n_finished += problem is None
                if problem is not None and failed_in_a_row == MAX_FAILED_IN_A_ROW:
                    job.fail(problem.code, f"{failed_in_a_row} event ranges failed in a row, the last: {problem.diag}")
                    break
        except Cancelled:
            if not (job.lost or job.interrupted.is_set()):
                job.fail(Code.LEASE_LOST, "the lease could not be kept while event ranges were processed")
        except StaleAttempt as error:
            job.lose(str(error))
        except ServerAway as error:
            job.fail(Code.LEASE_LOST, f"event ranges could not be asked for or reported: {error}")
        except Refused as error:
            job.fail(Code.PILOT_PROBLEM, f"the server refused to talk of event ranges: {error}")
        if job.failure is None:
            job.payload_exit = 0
        log.info("event ranges over", extra={"event": "event_ranges", "finished": n_finished, **job.label})

    def _process(self, job: Job, one: EventRange, command: str, run: Run) -> PilotError | None:
        """Process one range and report it; gives what went wrong with it. Raises Cancelled when the job must stop."""
        self._tell(job, one, "running")
        (job.directory / FAILED_STEP_FILE).unlink(missing_ok=True)
        problem = run(job, one.fill(command), one.variables)
        job.check()
        stored: dict[str, Any] = {}
        if problem is None:
            try:
                stored = self._store(job, one)
            except PilotError as error:
                problem = error
        else:
            _keep_output(job, one)
        for output in job.spec.outputs:
            (job.directory / output.lfn).unlink(missing_ok=True)
        if problem is None:
            self._tell(job, one, "finished", outputs=stored)
        else:
            log.warning("event range failed", extra={"event": "event_range", "diag": problem.diag, **job.label})
            self._tell(job, one, "failed", errorDiag=problem.diag[:DIAG_CHARACTERS])
        return problem

    def _store(self, job: Job, one: EventRange) -> dict[str, Any]:
        """Bring the outputs of a range to their storages, under names of its own; gives what to tell of them."""
        there = [output for output in job.spec.outputs if (job.directory / output.lfn).is_file()]
        missing = [output.lfn for output in job.spec.outputs if output not in there and not output.may_be_missing]
        if missing:
            raise PilotError(Code.OUTPUT_MISSING, f"the payload did not make {told_missing(job, missing)}")
        told: dict[str, Any] = {}
        for output in there:
            own = replace(output, lfn=f"{output.lfn}.{one.name}")
            transfer(own, job.directory / output.lfn, job, self._slot, self._guard(job), ("pw", "write_lan"))
            line = asdict(job.output_report.pop(own.lfn))
            told[output.lfn] = {"lfn": own.lfn, "fsize": line.pop("size_bytes"), **line}
        return told

    def _guard(self, job: Job) -> Guard:
        def confirm() -> None:
            try:
                self._reporter.heartbeat(job, lease_patience(job, tries=3))
            except (Refused, ServerAway) as error:
                raise Cancelled from error

        return Guard(job.check, confirm, f"{job.spec.pandaid}.{job.spec.attempt_nr}")

    def _ask(self, job: Job) -> Sequence[EventRange]:
        """Ask for the next range; empty when there are none. It has none in hand: what it never got is sent again."""
        spec = job.spec
        request = {"job_id": spec.pandaid, "task_id": spec.task_id, "jobset_id": number(spec.raw.get("jobsetID"))}
        more = {"n_ranges": 1, "attempt_nr": spec.attempt_nr, "in_hand": []}
        data = self._slot.server.event_call("acquire", {**request, **more}, lease_patience(job, TRIES), spec.token)
        found = data.get("eventRanges")
        return [EventRange.parse(one) for one in found] if isinstance(found, list) else []

    def _tell(self, job: Job, one: EventRange, state: str, **more: Any) -> None:
        """Report on a range; the job is lost when the range is no longer its own."""
        told = [{"eventRangeID": one.name, "eventStatus": state, **more}]
        body = {"event_ranges": told, "version": 2}
        data = self._slot.server.event_call("update", body, lease_patience(job, TRIES), job.spec.token)
        if data.get("Returns") != [True]:
            raise StaleAttempt(f"event range {one.name} is not ours any more")


def _keep_output(job: Job, one: EventRange) -> None:
    """Keep what the payload printed for a range that failed: the next range's takes its place."""
    for name in ("payload.stdout", "payload.stderr"):
        if (job.directory / name).is_file():
            shutil.copyfile(job.directory / name, job.directory / f"{name}.range-{one.first}")
