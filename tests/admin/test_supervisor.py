"""The supervisor of `bamboo up`: how long it waits before it starts again what dies over and over."""

from __future__ import annotations

import time
from pathlib import Path

from patience import eventually

from bamboo.admin.supervisor import RESTART_SECONDS, Part, Supervisor

N_DEATHS = 5


def test_pauses_grow_no_longer_than_the_longest(tmp_path: Path) -> None:
    """By doubling, the pause after the fifth death would be 16 times the first."""
    longest = RESTART_SECONDS / 10
    supervisor = Supervisor(longest_pause_seconds=longest)
    part = Part("dies", ["false"], 1, {}, tmp_path / "log")
    supervisor.start(part)

    def dead_often() -> bool:
        supervisor.look()
        return part.failures == N_DEATHS and part.process is None

    eventually(dead_often, "the part to die often")
    assert part.restart_at - time.monotonic() <= longest
    supervisor.stop()
