"""What scouts measured of a task, and what came of it, in words and units for people (manual ch. 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: What is measured: its name, and its unit.
_FIGURES: Mapping[str, tuple[str, str]] = {
    "ram_count_mb": ("memory of a job", "MB"),
    "cpu_time": ("CPU time of an event", "HS06 s"),
    "out_disk_count_kb": ("output of an event, or of a MB of input", "kB"),
    "work_disk_count_mb": ("work directory of a job", "MB"),
    "io_intensity": ("traffic of inputs and outputs", "kB/s"),
    "disk_io": ("local disk traffic", "kB/s"),
    "nGBPerJob": ("inputs and outputs of a job", "GB"),
}


def scouted(decided: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures of the newest of these decisions that has some.

    Rows of `what`, `unit`, `before`, `after` (None: it stayed, for the reason in `kept`), `measured`, `job`, `n_jobs`.
    """
    told = (one["reasons"]["figures"] for one in decided if "figures" in one["reasons"])
    figures: Mapping[str, Any] = next(told, {})
    return [_row(column, one) for column, one in figures.items() if isinstance(one, Mapping)]


def _row(column: str, told: Mapping[str, Any]) -> dict[str, Any]:
    what, unit = _FIGURES.get(column, (column, ""))
    return {
        "what": what,
        "unit": unit,
        "before": told.get("old"),
        "after": told.get("new"),
        "kept": told.get("kept", ""),
        "measured": told.get("measured"),
        "least": told.get("least"),
        "job": told.get("job"),
        "n_jobs": told.get("jobs"),
    }
