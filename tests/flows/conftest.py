"""Whole systems in real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from systems import QUICK, RunningSystem


@pytest.fixture
def start_system(tmp_path: Path) -> Iterator[Callable[..., RunningSystem]]:
    """Starts systems: `start_system("--pilots", "3", BAMBOO_SERVER__LEASE_SECONDS="8")`."""
    started: list[RunningSystem] = []

    def _start(*arguments: str, **environ: str) -> RunningSystem:
        started.append(RunningSystem(tmp_path / f"system{len(started)}", list(arguments), {**QUICK, **environ}))
        return started[-1].start()

    yield _start
    for system in started:
        system.clean_up()
