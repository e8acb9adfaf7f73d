"""Payload control: runs the command of a job and judges how it ended (manual ch. 7.3)."""

from __future__ import annotations

import logging
import os
import queue
import signal
import time
from collections.abc import Mapping
from typing import Any, Callable

from .capture import tail
from .component import Component
from .errors import Code, PilotError, from_os_error
from .event_workflow import EventWorkflow
from .job import Job, Phase
from .limits import look_at_directory
from .metrics import cgroup_memory_limit_mb, kernel_oom_kills
from .payload_command import Transformations, environment
from .payload_process import KeeperGone, PayloadEnd
from .slot import Slot
from .steps import CODES, failed_step

log = logging.getLogger(__name__)

BATCH_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU)
HEARSAY_SECONDS = 0.5
#: How much of the end of stderr is looked at for the last line, and how much of that line is told.
LAST_WORDS_BYTES = 4096
LAST_WORDS_CHARACTERS = 250
#: Signals that by themselves end no process.
HARMLESS_SIGNALS = ("SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH")


class PayloadControl(Component):
    """Post a job whose inputs are there; it goes on to `done` when nothing of its payload is left."""

    def __init__(
        self,
        events: queue.SimpleQueue[Any],
        slot: Slot,
        transformations: Transformations,
        ranges: EventWorkflow,
        started: Callable[[Job], None],
        done: Callable[[Job], None],
    ) -> None:
        super().__init__(events)
        self._slot = slot
        self._transformations = transformations
        self._ranges = ranges
        self._started = started
        self._done = done

    def handle(self, message: Job) -> None:
        job = message
        try:
            with job.timed("setup"):
                command = self._transformations.command(job)
            with job.timed("payload"):
                if job.spec.event_service:
                    self._ranges.work(job, command, self._run)
                elif (fault := self._run(job, command, {})) is not None:
                    job.fail(fault.code, fault.diag)
        except PilotError as error:
            job.fail(error.code, error.diag)
        except OSError as error:
            trouble = from_os_error("preparing the payload", error)
            job.fail(trouble.code, trouble.diag)
        except KeeperGone as error:
            job.fail(Code.PILOT_PROBLEM, f"the process that looks after payloads died: {error}")
            self._done(job)
            raise
        self._done(job)

    def _run(self, job: Job, command: str, more: Mapping[str, str]) -> PilotError | None:
        """Run a command of the job, with more variables in its environment; gives what went wrong."""

        def started(pid: int) -> None:
            job.payload_pid, job.started_at, job.phase = pid, job.started_at or time.time(), Phase.PAYLOAD
            job.kill_payload = self._slot.keeper.kill
            if job.interrupted.is_set():  # between the last look and now
                self._slot.keeper.kill(0.0)
            log.info("payload started", extra={"event": "payload", "pid": pid, "command": command[:500], **job.label})
            self._started(job)

        if job.interrupted.is_set():
            return None
        oom_before = kernel_oom_kills()
        self._slot.keeper.set_deadline(job.lease.kill_at)
        variables = {**environment(job, self._slot.queue.name, os.environ), **more}
        used_before = job.cpu_seconds if job.spec.event_service else 0.0
        end = self._slot.keeper.run(command, job.directory, variables, started)
        job.kill_payload = lambda grace: None
        job.ended_at, job.payload_exit = time.time(), end.exit_code
        job.cpu_seconds = used_before + end.cpu_seconds
        job.peaks.rss_kb = max(job.peaks.rss_kb, end.max_rss_kb)
        # The monitor may have looked last long ago, or never, and a payload is largest at its end as a rule.
        job.peaks.work_dir_bytes = max(
            job.peaks.work_dir_bytes, look_at_directory(job.directory, frozenset()).size_bytes
        )
        log.info(
            "payload ended", extra={"event": "payload", "exit_code": end.exit_code, "left": end.survivors, **job.label}
        )
        if not end.reason and end.exit_code - 128 in BATCH_SIGNALS:
            # A batch system that signals the whole slot may end the payload just before we hear of it.
            self._slot.stopping.wait(HEARSAY_SECONDS)
        oom_kills = kernel_oom_kills() - oom_before
        if oom_kills > 0:
            job.recorder.bound(kernel_limit_kb=cgroup_memory_limit_mb() * 1024, oom_kills=oom_kills)
        return _fault(job, end, oom_kills)


def _fault(job: Job, end: PayloadEnd, oom_kills: int) -> PilotError | None:
    """What the end of a payload says went wrong, if anything did."""
    if end.reason == "lease":
        return PilotError(Code.LEASE_LOST, "lease lost: no accepted heartbeat in time, so the payload was stopped")
    if end.reason == "output":
        flood = f"payload printed {end.output_bytes >> 20} MB: write data to files, not to stdout"
        return PilotError(Code.OUTPUT_FLOOD, flood)
    if end.exit_code in (137, 9) and oom_kills > 0:
        limit = cgroup_memory_limit_mb()
        return PilotError(
            Code.OUT_OF_MEMORY,
            f"the kernel killed the payload for lack of memory (peak {job.peaks.rss_kb // 1024} MB,"
            f" limit {limit or 'of the machine'}{' MB' if limit else ''}): ask for more memory",
        )
    if end.exit_code > 128 and _signal_name(end.exit_code - 128):
        name = _signal_name(end.exit_code - 128)
        code = Code.PAYLOAD_SEGFAULT if name == "SIGSEGV" else Code.PAYLOAD_FAILED
        if name == "SIGTERM" and not end.signal:  # a transformation says by the same number that an archive is bad
            told = f"payload ended with exit code {end.exit_code}: a bad archive, or {name} ended the command"
            return PilotError(code, told + _last_words(job))
        return PilotError(code, f"payload was killed by signal {end.exit_code - 128} ({name}), not by the pilot")
    if step := failed_step(job.directory):
        return PilotError(CODES[step], f"{step} ended with exit code {end.exit_code}")
    if end.exit_code != 0:
        hint = f"; meanwhile the kernel killed {oom_kills} processes here for lack of memory" if oom_kills > 0 else ""
        return PilotError(Code.PAYLOAD_FAILED, f"payload ended with exit code {end.exit_code}{hint}{_last_words(job)}")
    return None


def _last_words(job: Job) -> str:
    """The last line that a payload wrote to stderr, which as a rule says why it failed, to follow its exit code."""
    lines = tail(job.stderr_path, LAST_WORDS_BYTES).splitlines()
    said = ("".join(letter for letter in line if letter.isprintable()).strip() for line in reversed(lines))
    line = next((line for line in said if line), "")
    return f": {line[:LAST_WORDS_CHARACTERS]}" if line else ""


def _signal_name(signum: int) -> str:
    """The name of a signal that can end a process; "" for a number that has another meaning.

    146 is no death by SIGCONT: a transformation says by it that it could not download the sandbox.
    """
    try:
        name = signal.Signals(signum).name
    except ValueError:
        return ""
    return "" if name in HARMLESS_SIGNALS else name
