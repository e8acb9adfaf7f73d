"""A control group with little memory, in which the kernel really ends processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

LIMIT_MB = 100
MISSING = "may not make a memory control group here, so that no process runs out of memory"
#: Where memory groups are made, and what limits them: with control groups of version 1, and of version 2.
_ROOTS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"))


@dataclass(frozen=True)
class MemoryGroup:
    """A group of processes that may have 100 MB together."""

    path: Path

    def pilot(self) -> tuple[str, str]:
        """What Python is called with to be a pilot in this group."""
        join = f"open('{self.path}/cgroup.procs', 'w').write(str(__import__('os').getpid()))"
        return "-c", f"import sys; {join}; from bamboo.pilot.main import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A group, which goes when its processes are over; skips where none can be made."""
    for root, limit in _ROOTS:
        group = Path(root, f"bamboo_test_{os.getpid()}")
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT_MB << 20))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        yield MemoryGroup(group)
        group.rmdir()
        return
    pytest.skip(MISSING)
