"""What a payload may use, and the sentence it gets when it uses more."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from .errors import Code, PilotError
from .job_spec import JobSpec, number
from .metrics import Usage
from .queue_data import QueueData

MIN_FREE_DISK_MB = 200
MAX_OUTPUT_FILE_MB = 500_000
WORK_DIR_GRACE = 1.2
MEMORY_GRACE = 2.0  # PanDA's default `pilot_rss_grace`


@dataclass(frozen=True)
class DirectoryLook:
    """One walk through a job directory."""

    size_mb: int
    newest_change: float  #: the newest modification time, epoch seconds
    largest_output: str = ""
    largest_output_mb: int = 0
    size_bytes: int = 0


def look_at_directory(directory: Path, outputs: frozenset[str]) -> DirectoryLook:
    """Add up what the files occupy on disk; links are not followed, and what vanishes meanwhile is skipped."""
    size = newest = 0.0
    largest, largest_bytes = "", 0
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            newest = max(newest, status.st_mtime)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(Path(entry.path))
                continue
            size += status.st_blocks * 512
            if entry.name in outputs and status.st_size > largest_bytes:
                largest, largest_bytes = entry.name, status.st_size
    return DirectoryLook(int(size) >> 20, newest, largest, largest_bytes >> 20, int(size))


@dataclass(frozen=True)
class Limits:
    """Limits of one job; 0 switches one off."""

    wall_time_seconds: float
    work_dir_mb: float
    memory_mb: float
    looping_seconds: float
    job_label: str = ""

    @classmethod
    def of(cls, spec: JobSpec, queue: QueueData, looping_seconds: float) -> Limits:
        """Join the job's and the queue's wishes."""
        times = [seconds for seconds in (spec.wall_time_seconds, queue.max_time_seconds) if seconds > 0]
        disk = spec.disk_count_mb or queue.max_work_dir_mb
        memory = spec.ram_count_mb or queue.max_rss_mb
        grace = float(queue.params.get("pilot_rss_grace") or MEMORY_GRACE)
        return cls(
            wall_time_seconds=min(times, default=0),
            work_dir_mb=WORK_DIR_GRACE * number(disk),
            memory_mb=grace * number(memory),
            looping_seconds=looping_seconds if spec.looping_check else 0,
        )

    def check_time(self, running_seconds: float) -> PilotError | None:
        if self.wall_time_seconds and running_seconds >= self.wall_time_seconds:
            return PilotError(
                Code.OUT_OF_TIME, f"payload ran {running_seconds:.0f} s, {self.wall_time_seconds:.0f} s are allowed"
            )
        return None

    def seems_too_much(self, usage: Usage) -> bool:
        """Tell whether RSS, which counts shared pages once for each process, is over the memory limit."""
        return bool(self.memory_mb) and usage.rss_kb / 1024 > self.memory_mb

    def check_usage(self, usage: Usage) -> PilotError | None:
        used = (usage.pss_kb or usage.rss_kb) / 1024
        if self.memory_mb and used > self.memory_mb:
            return PilotError(
                Code.MEMORY_LIMIT,
                f"payload uses {used:.0f} MB of memory in {usage.processes} processes,"
                f" {self.memory_mb:.0f} MB are allowed: ask for more memory",
            )
        return None

    def check_directory(self, look: DirectoryLook, free_mb: int) -> PilotError | None:
        if self.work_dir_mb and look.size_mb > self.work_dir_mb:
            return PilotError(
                Code.WORK_DIR_TOO_LARGE, f"work directory has {look.size_mb} MB, {self.work_dir_mb:.0f} MB are allowed"
            )
        if look.largest_output_mb > MAX_OUTPUT_FILE_MB:
            return PilotError(
                Code.OUTPUT_FILE_TOO_LARGE,
                f"output {look.largest_output} has {look.largest_output_mb} MB, {MAX_OUTPUT_FILE_MB} MB are allowed",
            )
        if free_mb < MIN_FREE_DISK_MB:
            return PilotError(
                Code.NO_LOCAL_SPACE, f"only {free_mb} MB are free on this machine's disk, {MIN_FREE_DISK_MB} are needed"
            )
        return None


@dataclass
class IdleWatch:
    """Finds payloads that hang: no file changed and hardly any CPU used for a long time."""

    limit_seconds: float
    since: float  #: boot seconds of the last sign of life
    _change: float = field(default=0.0)
    _cpu_seconds: float = field(default=0.0)

    def note(self, now: float, newest_change: float, cpu_seconds: float) -> PilotError | None:
        """Take a look's results; gives the error when the payload has been idle for too long."""
        # A fifth of a percent of one core is what a process that only waits may use.
        worked = abs(cpu_seconds - self._cpu_seconds) > max(0.02, 0.002 * self.limit_seconds)
        if newest_change != self._change or worked:
            self._change, self._cpu_seconds, self.since = newest_change, cpu_seconds, now
        if self.limit_seconds and now - self.since >= self.limit_seconds:
            idle = now - self.since
            return PilotError(Code.LOOPING, f"payload changed no file and used no CPU for {idle:.0f} s")
        return None
