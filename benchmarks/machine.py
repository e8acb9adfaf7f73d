"""What every benchmark prints beside its figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def facts() -> str:
    """The machine in a line: processors, memory, load, Python."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    gigabytes = int(memory.split()[1]) / 2**20
    load = "/".join(f"{average:.1f}" for average in os.getloadavg())
    return f"{os.cpu_count()} processors, {gigabytes:.0f} GiB, load {load}, Python {platform.python_version()}"
