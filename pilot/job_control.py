"""Job control: asks for jobs, checks them, sends them through the pilot, reports the end (manual ch. 7.3)."""

from __future__ import annotations

import logging
import os
import queue
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from .component import Component
from .data_control import log_directory
from .errors import Code, Exit, PilotError, Refused, ServerAway, StaleAttempt, from_os_error
from .job import Job, Phase
from .job_spec import SECRET_FILES, JobSpec, number
from .lease import DEFAULT_LEASE_SECONDS, Lease
from .leftovers import remove_tree
from .metrics import cpu_mhz, free_disk_mb, machine_memory_mb
from .report import Reporter, final_patience, lease_patience
from .slot import Slot

log = logging.getLogger(__name__)


#: Empty answers after which pauses grow, with `--longest-poll-seconds`.
PATIENT_POLLS = 30


def poll_pause(seconds: float, longest: float | None, n_empty: int) -> float:
    """The pause after so many empty answers in a row: it grows by half each time, late, and never beyond `longest`."""
    growing = min(max(0, n_empty - PATIENT_POLLS), 64)
    return seconds if longest is None else max(seconds, min(longest, seconds * 1.5**growing))


@dataclass(frozen=True)
class Ended:
    """Job control has no more to do."""

    exit_code: int


@dataclass(frozen=True)
class Steps:
    """How job control sends a job through the other components."""

    bring_in: Callable[[Job], None]  #: hand over to data control; the job's `finished` event ends the way
    watch: Callable[[Job | None], None]  #: begin to watch and heartbeat the job; None ends it


class JobControl(Component):
    """Runs one job after the other until there is no reason to ask for more."""

    def __init__(self, events: queue.SimpleQueue[Any], slot: Slot, reporter: Reporter, steps: Steps) -> None:
        super().__init__(events)
        self._slot = slot
        self._reporter = reporter
        self._steps = steps

    def serve(self) -> None:
        exit_code = self._serve_jobs()
        self._events.put(Ended(exit_code))

    def _serve_jobs(self) -> int:
        slot, options = self._slot, self._slot.options
        done = empty = failed = 0
        while self._may_ask(done):
            begun = time.monotonic()
            try:
                sent_at, wire = slot.server.acquire(self._request())
            except (ServerAway, Refused) as error:
                failed += 1
                log.warning("no answer to the request for work", extra={"event": "acquire", "problem": str(error)})
                if failed >= options.failed_polls:
                    return Exit.DONE if done else Exit.SERVER_AWAY
                self._pause()
                continue
            failed = 0
            if wire is not None:
                self._work(wire, sent_at, time.monotonic() - begun)
                done, empty = done + 1, 0
                continue
            empty += 1
            seldom = empty & (empty - 1) == 0  # a pilot may wait for days
            log.log(logging.INFO if seldom else logging.DEBUG, "no work", extra={"event": "acquire", "in_a_row": empty})
            if options.polls and empty >= options.polls:
                break
            self._pause(empty)
        return Exit.DONE

    def _may_ask(self, done: int) -> bool:
        """Tell whether the pilot wants (another) job (pilot protocol, architecture: `timefloor`)."""
        slot, options = self._slot, self._slot.options
        if slot.stopping.is_set() or slot.lifetime_left <= 0 or (options.max_jobs and done >= options.max_jobs):
            return False
        minutes = slot.queue.timefloor_minutes if options.timefloor is None else options.timefloor
        return done == 0 or minutes < 0 or slot.elapsed < 60 * minutes

    def _pause(self, n_empty: int = 0) -> None:
        """Wait before the next request; longer when many have found nothing, if the pilot may."""
        wanted, longest = self._slot.options.poll_seconds, self._slot.options.longest_poll_seconds
        seconds = random.uniform(60, 180) if wanted is None else wanted  # noqa: S311 - spreads pilots, guards nothing
        seconds = poll_pause(seconds, longest, n_empty)
        self._slot.stopping.wait(min(seconds, max(0.0, self._slot.lifetime_left)))

    def _request(self) -> dict[str, Any]:
        """Describe this slot to the broker."""
        slot, options = self._slot, self._slot.options
        free = free_disk_mb(slot.home)
        request = {
            **slot.identity(),
            "computing_element": options.queue,
            "prod_source_label": _label(options.job_label, options.version_tag, slot.queue.status),
            "disk_space": min(free, slot.queue.max_work_dir_mb or free),
            "memory": machine_memory_mb(),
            "cpu": cpu_mhz(),
            "remaining_time": int(slot.lifetime_left),
            "working_group": options.working_group,
            "country_group": options.country_group,
            "allow_other_country": options.allow_other_country == "True" or None,
            "resource_type": options.resource_type,
            "scheduler_id": os.environ.get("HARVESTER_ID") or os.environ.get("PANDA_JSID"),
            "harvester_id": os.environ.get("HARVESTER_ID"),
            "worker_id": number(os.environ.get("HARVESTER_WORKER_ID")) or None,
        }
        return {key: value for key, value in request.items() if value not in (None, "")}

    def _work(self, wire: Mapping[str, Any], sent_at: float, getjob_seconds: float) -> None:
        """Take one job from its definition to its final report."""
        slot = self._slot
        lease_seconds = float(number(wire.get("leaseSeconds"))) or DEFAULT_LEASE_SECONDS
        lease = Lease(lease_seconds, slot.options.kill_grace, sent_at, slot.clock)
        try:
            spec, trouble = JobSpec.parse(wire), None
        except PilotError as error:
            ids = {key: wire.get(key) for key in ("PandaID", "attemptNr", "taskID", "attemptToken")}
            spec, trouble = JobSpec.parse(ids), error
        job = Job(spec, _free_directory(slot.home, spec), lease)
        job.timing["getjob"] = getjob_seconds
        log.info("job taken", extra={"event": "acquire", "lease_seconds": lease_seconds, **job.label})
        if trouble is not None:
            job.fail(trouble.code, trouble.diag)
        elif problems := spec.problems():
            job.fail(Code.NOT_IMPLEMENTED, f"this pilot cannot run the job: {', '.join(problems)}")
        try:
            self._run(job)
            self._report_end(job)
        finally:
            slot.job = None
            self._steps.watch(None)
            self._clean(job)

    def _run(self, job: Job) -> None:
        """Send a good job through the components and wait for it to come back."""
        slot = self._slot
        if job.failure is None:
            self._prepare_directory(job)
        if job.failure is not None:
            return
        slot.job = job
        if slot.stop is not None:  # the order came while the job was on its way to us
            job.interrupt(slot.stop.code, slot.stop.diag, 0.0)
        try:
            self._reporter.heartbeat(job, lease_patience(job, tries=3))
        except ServerAway as error:
            log.warning("first update did not arrive", extra={"event": "update", "problem": str(error), **job.label})
        except StaleAttempt:
            return
        except Refused as error:
            log.warning("first update refused", extra={"event": "update", "problem": str(error), **job.label})
        self._steps.watch(job)
        self._steps.bring_in(job)
        job.finished.wait()
        job.phase = Phase.REPORTING

    def _prepare_directory(self, job: Job) -> None:
        try:
            job.directory.mkdir()
            if job.spec.secrets:
                handle = os.open(job.directory / SECRET_FILES[0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="utf-8") as sink:
                    sink.write(job.spec.secrets)
        except OSError as error:
            trouble = from_os_error("the job's work directory cannot be made", error)
            job.fail(trouble.code, trouble.diag)

    def _report_end(self, job: Job) -> None:
        """Send the final update, or say why there is none to send."""
        if job.lost:
            log.warning("job dropped without report", extra={"event": "final", "reason": job.lost, **job.label})
            return
        try:
            state = self._reporter.final(job, final_patience(job, lambda: self._slot.stop_until))
            code = 0 if job.failure is None else int(job.failure.code)
            log.info("job reported", extra={"event": "final", "state": state, "code": code, **job.label})
        except StaleAttempt:
            return
        except (Refused, ServerAway) as error:
            log.error("final report not accepted", extra={"event": "final", "problem": str(error), **job.label})

    def _clean(self, job: Job) -> None:
        if self._slot.options.cleanup.lower() == "false":
            return
        for directory in (job.directory, log_directory(job)):
            remove_tree(directory)


def _free_directory(home: Path, spec: JobSpec) -> Path:
    """Name the job's directory; an earlier attempt's may have been kept."""
    plain = home / f"PanDA-{spec.pandaid}"
    return plain.with_name(f"{plain.name}.{spec.attempt_nr}") if plain.exists() else plain


def _label(label: str, version_tag: str, queue_status: str) -> str:
    """Give the label to ask for: test queues and release candidates get test jobs (pilot protocol, getJob)."""
    tests = {"RC": "rc_test2", "ALRB": "rc_alrb"}
    if version_tag in tests:
        return tests[version_tag]
    return "test" if queue_status == "test" and label != "ptest" else label
