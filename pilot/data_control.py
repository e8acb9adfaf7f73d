"""Data control: stage-in before the payload, stage-out and log after it (manual ch. 7.3)."""

from __future__ import annotations

import logging
import queue
from pathlib import Path
from typing import Any, Callable

from .component import Component
from .copytools import Guard
from .errors import Cancelled, Code, PilotError, Refused, ServerAway, from_os_error
from .job import Job, Phase
from .job_spec import SECRET_FILES
from .log_tarball import make_log
from .report import Reporter, lease_patience
from .slot import Slot
from .stage_in import stage_in
from .stage_out import stage_out, transfer

log = logging.getLogger(__name__)


class DataControl(Component):
    """Post a job twice: fresh ones get their inputs, those back from the payload are brought out."""

    inputs_ready: Callable[[Job], None]  #: where jobs go next; set when the components are wired in a ring

    def __init__(self, events: queue.SimpleQueue[Any], slot: Slot, reporter: Reporter) -> None:
        super().__init__(events)
        self._slot = slot
        self._reporter = reporter

    def handle(self, message: Job) -> None:
        if message.phase is Phase.CLAIMED:
            self._bring_in(message)
        else:
            self._bring_out(message)

    def _bring_in(self, job: Job) -> None:
        job.phase = Phase.STAGE_IN
        job.log_from = self._slot.pilot_log.stat().st_size
        with job.timed("stagein"):
            self._guarded(job, lambda: stage_in(job, self._slot, self._guard(job, job.check)))
        if job.failure is None and not job.interrupted.is_set():
            self.inputs_ready(job)
        else:
            self._bring_out(job)

    def _bring_out(self, job: Job) -> None:
        job.phase = Phase.STAGE_OUT
        self._guarded(job, lambda: _remove_secrets(job))
        with job.timed("stageout"):
            if job.failure is None and not job.interrupted.is_set():
                self._guarded(job, lambda: stage_out(job, self._slot, self._guard(job, job.check)))
            if not job.lost:
                self._bring_out_log(job)
        job.finished.set()

    def _bring_out_log(self, job: Job) -> None:
        """Make and transfer the log, also of a failed job; a failed job keeps its first reason."""
        file = job.spec.log
        if file is None:
            return

        def check() -> None:
            late = self._slot.seconds_to_stop(reserve=0.25 * self._slot.options.kill_grace) < 0
            if job.lost or late or not job.lease.held():
                raise Cancelled

        def make_and_send() -> None:
            check()
            target = log_directory(job) / file.lfn
            try:
                target.parent.mkdir(exist_ok=True)
                make_log(job, target, self._slot.pilot_log)
            except OSError as error:
                raise from_os_error("the log cannot be made", error, Code.LOG_NOT_MADE) from error
            transfer(file, target, job, self._slot, self._guard(job, check), ("pl", "pw"))

        self._guarded(job, make_and_send)

    def _guard(self, job: Job, check: Callable[[], None]) -> Guard:
        def confirm() -> None:
            try:
                self._reporter.heartbeat(job, lease_patience(job, tries=3))
            except (Refused, ServerAway) as error:
                raise Cancelled from error

        return Guard(check, confirm, f"{job.spec.pandaid}.{job.spec.attempt_nr}")

    def _guarded(self, job: Job, work: Callable[[], None]) -> None:
        """Do a piece of work; what goes wrong becomes the job's failure."""
        try:
            work()
        except PilotError as error:
            log.warning("job failed", extra={"event": "data", "code": int(error.code), "diag": error.diag, **job.label})
            job.fail(error.code, error.diag)
        except Cancelled:
            if not job.lost:
                job.fail(Code.LEASE_LOST, "the lease could not be kept during file transfers")
        except OSError as error:
            trouble = from_os_error("file transfer", error)
            job.fail(trouble.code, trouble.diag)


def _remove_secrets(job: Job) -> None:
    for name in SECRET_FILES:
        (job.directory / name).unlink(missing_ok=True)


def log_directory(job: Job) -> Path:
    """Where the log is made: beside the job directory, so that it does not contain itself."""
    return job.directory.with_name(f"{job.directory.name}.log")
