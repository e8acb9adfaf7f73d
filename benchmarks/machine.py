"""What stands beside all figures: the machine, its load, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def facts() -> dict[str, Any]:
    """The machine and the code: processors, memory in GiB, load of the last minutes, versions, commit."""
    return {
        "processor": _line_of("/proc/cpuinfo", "model name") or platform.machine(),
        "processors": os.cpu_count(),
        "memory_gib": round(int(_line_of("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
        "load": "/".join(f"{average:.1f}" for average in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _line_of(path: str, key: str) -> str:
    """The value of the first line `key: value` of a file of the kernel's; empty when there is none."""
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _commit() -> str:
    """The commit that was measured, with a plus when files differ from it; empty outside a clone."""
    try:
        described = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
        return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
