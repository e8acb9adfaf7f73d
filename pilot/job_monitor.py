"""The job monitor: watches lease, wall time, memory, disk and idleness of the current job (manual ch. 7.3)."""

from __future__ import annotations

import logging
import queue
import time
from typing import Any

from .component import Component
from .errors import Code, PilotError
from .job import Job, Phase
from .limits import DirectoryLook, IdleWatch, Limits, look_at_directory
from .metrics import Usage, cgroup_memory_limit_mb, free_disk_mb, kernel_oom_kills, look_at
from .processes import descendants
from .slot import Slot

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
DUTY = 20  # a look that took t seconds is repeated after 20 t at the earliest: at most 5 % of one core


class JobMonitor(Component):
    """Post a job to begin, the same job again when its payload has started, None to end."""

    def __init__(self, events: queue.SimpleQueue[Any], slot: Slot) -> None:
        super().__init__(events)
        self._slot = slot
        self._job: Job | None = None
        self._payload_since: float | None = None
        self._directory_due_at = 0.0
        self._pss_due_at = 0.0
        self._oom_kills_before = 0

    def handle(self, message: Job | None) -> None:
        now = self._slot.clock()
        if message is None or message is not self._job:
            self._payload_since = None
            self._oom_kills_before = kernel_oom_kills()
        else:
            if self._payload_since is None or not message.spec.event_service:
                self._payload_since = now  # the wall time is that of all event ranges
            self._limits = Limits.of(message.spec, self._slot.queue, self._slot.options.looping_seconds)
            self._idle = IdleWatch(self._limits.looping_seconds, now)
            self._directory_due_at = self._pss_due_at = now
        self._job = message

    def seconds_to_tick(self) -> float | None:
        job, now = self._job, self._slot.clock()
        if job is None:
            return None
        ends = [job.lease.stop_at - now]
        if self._payload_since is not None:
            ends.append(LOOK_SECONDS)
            if self._limits.wall_time_seconds:
                ends.append(self._payload_since + self._limits.wall_time_seconds - now)
        return max(0.0, min(ends))

    def tick(self) -> None:
        job = self._job
        if job is None or job.interrupted.is_set() or job.phase is Phase.REPORTING:
            self._job = None
            return
        trouble = self._check_lease(job)
        if trouble is None and self._payload_since is not None and job.phase is Phase.PAYLOAD:
            trouble = self._check_payload(job, self._payload_since)
        if trouble is not None:
            log.warning("job interrupted", extra={"event": "limit", "reason": trouble.diag, **job.label})
            lost = trouble.code is Code.LEASE_LOST
            job.interrupt(trouble.code, trouble.diag, job.lease.payload_grace if lost else self._slot.payload_grace)

    def _check_lease(self, job: Job) -> PilotError | None:
        if job.lease.held():
            return None
        silent = self._slot.clock() - job.lease.renewed_at
        return PilotError(
            Code.LEASE_LOST,
            f"lease of {job.lease.seconds:.0f} s lost: no accepted heartbeat for {silent:.0f} s, work stopped",
        )

    def _check_payload(self, job: Job, since: float) -> PilotError | None:
        now = self._slot.clock()
        usage = self._look_at_processes(job, now)
        trouble = self._limits.check_time(now - since) or self._limits.check_usage(usage)
        if trouble is None and now >= self._directory_due_at:
            look = self._look_at_files(job, now)
            trouble = self._limits.check_directory(look, free_disk_mb(self._slot.home)) or self._idle.note(
                now, look.newest_change, usage.cpu_seconds
            )
        return trouble

    def _look_at_processes(self, job: Job, now: float) -> Usage:
        pids = descendants(self._slot.keeper.pid)
        begun = time.monotonic()
        with_pss = now >= self._pss_due_at
        usage = look_at(pids, job.peaks, with_pss)
        if not with_pss and self._limits.seems_too_much(usage):
            with_pss, usage = True, look_at(pids, job.peaks, with_pss=True)
        if with_pss:
            job.peaks.memory.note(now, usage.pss_kb)
            self._pss_due_at = now + max(LOOK_SECONDS, DUTY * (time.monotonic() - begun))
        job.cpu_seconds = max(job.cpu_seconds, usage.cpu_seconds)
        job.recorder.note(time.time(), usage, job.peaks)
        job.recorder.bound(
            pilot_limit_kb=int(self._limits.memory_mb * 1024),
            kernel_limit_kb=cgroup_memory_limit_mb() * 1024,
            oom_kills=max(0, kernel_oom_kills() - self._oom_kills_before),
        )
        return usage

    def _look_at_files(self, job: Job, now: float) -> DirectoryLook:
        begun = time.monotonic()
        look = look_at_directory(job.directory, frozenset(output.lfn for output in job.spec.outputs))
        job.peaks.work_dir_bytes = max(job.peaks.work_dir_bytes, look.size_bytes)
        self._directory_due_at = now + max(LOOK_SECONDS, DUTY * (time.monotonic() - begun))
        return look
