"""The matrix of crash points: killed before and after its commits and sendings, no process loses or doubles anything.

A sample at each run. `make chaos` tries all of them, with CRASH_POINTS_REPORT naming the page that is told.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from crash_points import crash_everywhere, crashing_system

from bamboo.admin.chaos.report import write_page

N_POINTS = 16
#: How many points are armed in each flow of the whole matrix; the sample is tried in one flow.
AT_A_TIME = 8
KINDS = ("client", "daemon", "jedi", "pilot", "server", "supervisor")
SEED = os.environ.get("BAMBOO_TEST_SEED", "1")
PAGE = os.environ.get("CRASH_POINTS_REPORT")


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_wherever_a_process_dies(tmp_path: Path, sqlite_url: str) -> None:
    with crashing_system(tmp_path / "system", sqlite_url) as crashing:
        at_start = set(crashing.points())  # to come to these again costs a start
        crashing.flow()
        in_flow = [point for point in crashing.points() if point not in at_start]
        points = random.Random(SEED).sample(in_flow, N_POINTS)
        matrix = crash_everywhere(crashing, points, N_POINTS)
    assert matrix.violations == []
    assert sum(matrix.fired.values()) > N_POINTS / 2, matrix.fired


@pytest.mark.skipif(not PAGE, reason="the whole matrix is a part of `make chaos`")
def test_the_whole_matrix(tmp_path: Path, database_url: str) -> None:
    with crashing_system(tmp_path / "system", database_url) as crashing:
        crashing.flow(until=lambda: False)
        crashing.power_cut()
        crashing.flow()
        points = crashing.points()
        assert {point.partition(":")[0] for point in points} == set(KINDS)
        matrix = crash_everywhere(crashing, points, AT_A_TIME)
        title = f"crash points, {crashing.engine.dialect.name}"
    write_page(Path(str(PAGE)), title, "\n".join(matrix.lines()))
    assert matrix.violations == []
