"""What a process tree uses, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024

#: A line through fewer looks says nothing.
MIN_LOOKS = 10


@dataclass
class Usage:
    """One look at a process tree; memory in kB."""

    rss_kb: int = 0
    pss_kb: int = 0
    vmem_kb: int = 0
    cpu_seconds: float = 0.0
    processes: int = 0
    tree: list[list[Any]] = field(default_factory=list)  #: a row for each process, as `flight_records.PROCESS` says


@dataclass
class Trend:
    """The straight line through what was seen over time, by least squares; kept as sums, so that it does not grow."""

    n: int = 0
    began: float = 0.0
    sum_t: float = 0.0
    sum_v: float = 0.0
    sum_tt: float = 0.0
    sum_tv: float = 0.0

    def note(self, seconds: float, value: float) -> None:
        if self.n == 0:
            self.began = seconds
        at = seconds - self.began
        self.n += 1
        self.sum_t += at
        self.sum_v += value
        self.sum_tt += at * at
        self.sum_tv += at * value

    def slope(self) -> float | None:
        """How the value grows each second; None before there were ten looks at different times."""
        spread = self.n * self.sum_tt - self.sum_t * self.sum_t
        if self.n < MIN_LOOKS or spread <= 0:
            return None
        return (self.n * self.sum_tv - self.sum_t * self.sum_v) / spread


@dataclass
class Peaks:
    """The largest values seen during a job, how its memory grew, and the bytes its processes moved."""

    rss_kb: int = 0
    pss_kb: int = 0
    vmem_kb: int = 0
    work_dir_bytes: int = 0
    memory: Trend = field(default_factory=Trend)  #: of PSS in kB
    io_by_pid: dict[int, dict[str, int]] = field(default_factory=dict)  #: counters of living processes
    io_of_ended: dict[str, int] = field(default_factory=dict)

    def note(self, usage: Usage) -> None:
        self.rss_kb = max(self.rss_kb, usage.rss_kb)
        self.pss_kb = max(self.pss_kb, usage.pss_kb)
        self.vmem_kb = max(self.vmem_kb, usage.vmem_kb)

    def forget_ended(self, alive: list[int]) -> None:
        """Add the counters of processes that are gone to one sum, so that the table stays small."""
        for pid in set(self.io_by_pid).difference(alive):
            for counter, value in self.io_by_pid.pop(pid).items():
                self.io_of_ended[counter] = self.io_of_ended.get(counter, 0) + value

    def io_total(self, counter: str) -> int:
        """Sum a counter of /proc/<pid>/io (rchar, wchar, read_bytes, write_bytes) over all processes seen."""
        return self.io_of_ended.get(counter, 0) + sum(io.get(counter, 0) for io in self.io_by_pid.values())


def look_at(pids: list[int], peaks: Peaks, with_pss: bool) -> Usage:
    """Add up what these processes use now and note peaks; PSS costs a page walk, so only when asked."""
    usage = Usage()
    peaks.forget_ended(pids)
    for pid in pids:
        proc = Path(f"/proc/{pid}")
        try:
            name, _, rest = (proc / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            # Counted after the name: 0 state, 1 parent, 11 utime, 12 stime, 13/14 those of reaped children, 20 vsize,
            # 21 rss.
            usage.cpu_seconds += sum(int(fields[at]) for at in (11, 12, 13, 14)) / _TICKS
            usage.vmem_kb += int(fields[20]) // 1024
            rss_kb = int(fields[21]) * _PAGE_KB
            usage.rss_kb += rss_kb
            usage.processes += 1
            usage.tree.append([pid, int(fields[1]), name, rss_kb, fields[0]])
            peaks.io_by_pid[pid] = _key_values(proc / "io")
            usage.pss_kb += _key_values(proc / "smaps_rollup").get("Pss", rss_kb) if with_pss else 0
        except (OSError, IndexError, ValueError):  # it ended while we looked
            continue
    peaks.note(usage)
    return usage


def _key_values(path: Path) -> dict[str, int]:
    """Read lines of the form `key: number [unit]`."""
    values = {}
    for line in path.read_text().splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[key] = int(words[0])
    return values


def kernel_oom_kills() -> int:
    """How often the kernel killed a process of our memory cgroup for lack of memory; 0 when it does not tell."""
    for path in (_cgroup_file("", "memory.events"), _cgroup_file("memory", "memory.oom_control")):
        try:
            for line in path.read_text().splitlines():
                word, _, count = line.partition(" ")
                if word == "oom_kill":
                    return int(count)
        except OSError:
            continue
    return 0


def cgroup_memory_limit_mb() -> int:
    """The memory limit of our cgroup in MB; 0 when there is none."""
    for path in (_cgroup_file("", "memory.max"), _cgroup_file("memory", "memory.limit_in_bytes")):
        try:
            words = path.read_text().strip()
        except OSError:
            continue
        if words.isdigit() and int(words) < 1 << 60:
            return int(words) >> 20
    return 0


def _cgroup_file(controller: str, name: str) -> Path:
    """Where a controller's file of our own cgroup is; controller empty for cgroup v2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controller in controllers.split(",") if controller else not controllers:
            return Path("/sys/fs/cgroup") / controller / inside.lstrip("/") / name
    return Path("/nonexistent")


def machine_memory_mb() -> int:
    """Memory of this machine, or of our cgroup when that is less."""
    total = _key_values(Path("/proc/meminfo")).get("MemTotal", 0) // 1024
    limit = cgroup_memory_limit_mb()
    return min(total, limit) if limit else total


def cpu_mhz() -> float:
    """The first processor's clock; 0 when it is not told."""
    return float(_cpu_line("cpu MHz") or 0)


def cpu_model() -> str:
    """The processor's name as the kernel prints it."""
    return _cpu_line("model name") or os.uname().machine


def _cpu_line(wanted: str) -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == wanted:
                    return " ".join(value.split())
    except OSError:
        return ""
    return ""


def free_disk_mb(path: Path) -> int:
    """Space that we may still write at this place."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize >> 20
