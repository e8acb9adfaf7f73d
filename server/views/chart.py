"""Charts that need no script: stacked columns over time and histograms, drawn by the templates as SVG.

Scripts may draw them anew from the same figures, with a cursor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from ...sql.history import STEP, step_of

WIDTH, HEIGHT = 640, 160
#: A chart has no more columns.
MOST_COLUMNS = 96
#: A chart has so many kinds of its own; the smallest are put together.
MOST_KINDS = 8
OTHERS = "others"
#: Our pilot's samples are further apart.
LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class Block:
    """A part of a column: places in units of the chart."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Columns over time. `values` are {kind: a figure for each of `times`}."""

    title: str
    unit: str
    times: Sequence[datetime]
    values: Mapping[str, Sequence[float]]
    is_share: bool = False  #: colours by their order, not by the names of states

    @property
    def highest(self) -> float:
        """The height of the highest column, rounded up."""
        return _round_up(max((sum(column) for column in zip(*self.values.values(), strict=True)), default=0))

    @property
    def total(self) -> Mapping[str, float]:
        return {kind: sum(figures) for kind, figures in self.values.items()}

    def blocks(self) -> Iterable[Block]:
        """What to draw."""
        highest, width = self.highest or 1, WIDTH / max(len(self.times), 1)
        for place in range(len(self.times)):
            y = float(HEIGHT)
            for kind, figures in self.values.items():
                height = HEIGHT * figures[place] / highest
                y -= height
                if height > 0:
                    yield Block(kind, round(place * width, 2), round(y, 2), round(width * 0.92, 2), round(height, 2))

    def data(self) -> str:
        """The same for scripts: JSON of `times` (seconds since 1970) and `series`."""
        times = [int(moment.timestamp()) for moment in self.times]
        return json.dumps({"times": times, "unit": self.unit, "series": self.values})


def over_time(
    title: str, unit: str, rows: Iterable[tuple[datetime, str, float]], *, since: datetime, until: datetime, **more: Any
) -> Chart:
    """A chart of (moment, kind, figure), summed up into columns of one or more steps of ten minutes."""
    first = step_of(since)
    n_steps = (step_of(until) - first) // STEP + 1
    per_column = math.ceil(n_steps / MOST_COLUMNS)
    n_columns = math.ceil(n_steps / per_column)
    sums: dict[str, list[float]] = {}
    for moment, kind, value in rows:
        place = (moment - first) // (STEP * per_column)
        if 0 <= place < n_columns:
            sums.setdefault(kind, [0.0] * n_columns)[place] += value
    times = [first + place * per_column * STEP for place in range(n_columns)]
    return Chart(title, unit, times, _largest(sums), **more)


def averaged(chart: Chart) -> Chart:
    """A chart of samples: what a column sums up of several steps is their mean."""
    per_column = (chart.times[1] - chart.times[0]) / STEP if len(chart.times) > 1 else 1
    values = {kind: [figure / per_column for figure in figures] for kind, figures in chart.values.items()}
    return Chart(chart.title, chart.unit, chart.times, values, chart.is_share)


def _largest(sums: Mapping[str, list[float]]) -> dict[str, list[float]]:
    ordered = sorted(sums, key=lambda kind: -sum(sums[kind]))
    if len(ordered) <= MOST_KINDS:
        return {kind: sums[kind] for kind in ordered}
    kept, rest = ordered[: MOST_KINDS - 1], ordered[MOST_KINDS - 1 :]
    others = [sum(column) for column in zip(*(sums[kind] for kind in rest), strict=True)]
    return {**{kind: sums[kind] for kind in kept}, OTHERS: others}


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    if value <= 0:
        return 0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


@dataclass(frozen=True)
class Histogram:
    """How many jobs lie in each of the ranges from one edge to the next."""

    title: str
    unit: str
    edges: Sequence[float]
    counts: Mapping[str, Sequence[int]]  #: {kind: jobs in each range}
    mark: float | None = None  #: a limit to draw
    mark_name: str = ""

    @property
    def highest(self) -> int:
        return max((sum(column) for column in zip(*self.counts.values(), strict=True)), default=0)

    def blocks(self) -> Iterable[Block]:
        """What to draw."""
        n, highest = len(self.edges) - 1, self.highest or 1
        for place in range(n):
            y = float(HEIGHT)
            for kind, counts in self.counts.items():
                height = HEIGHT * counts[place] / highest
                y -= height
                if height > 0:
                    yield Block(
                        kind, round(WIDTH * place / n, 2), round(y, 2), round(0.94 * WIDTH / n, 2), round(height, 2)
                    )

    @property
    def mark_x(self) -> float | None:
        """Where the limit is, unless it is beyond the edges."""
        low, high = self.edges[0], self.edges[-1]
        if self.mark is None or not low <= self.mark <= high or high == low:
            return None
        return round(WIDTH * (self.mark - low) / (high - low), 2)


def histogram(
    title: str, unit: str, values: Iterable[tuple[str, float | None]], *, mark: float | None = None, mark_name: str = ""
) -> Histogram | None:
    """A histogram of (kind, value) in a dozen ranges from 0 on; None without values."""
    given = [(kind, value) for kind, value in values if value is not None and value >= 0]
    if not given:
        return None
    top = max(value for _, value in given)
    if mark is not None and mark <= 3 * top:
        top = max(top, mark)
    n = 24
    width = (_round_up(top) or 1) / n
    if top / width < n / 2:  # rounded up to twice as much
        width = top / n or 1 / n
    counts: dict[str, list[int]] = {}
    for kind, value in given:
        counts.setdefault(kind, [0] * n)[min(int(value / width), n - 1)] += 1
    return Histogram(title, unit, [place * width for place in range(n + 1)], counts, mark, mark_name)


@dataclass(frozen=True)
class Curve:
    """Lines over the seconds of a job, each with its name; `mark` is a limit to draw."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    mark: float | None = None
    mark_name: str = ""

    @property
    def highest(self) -> float:
        """The upper edge: above the lines, and the limit where it is near."""
        top = max((y for line in self.lines.values() for _, y in line), default=0)
        return _round_up(max(top, self.mark) if self.mark and self.mark < 4 * top else top)

    @property
    def seconds(self) -> float:
        """The right edge."""
        return max((x for line in self.lines.values() for x, _ in line), default=0)

    def paths(self) -> Iterable[tuple[str, str]]:
        """What to draw: (name, points of a line)."""
        across, up = WIDTH / (self.seconds or 1), HEIGHT / (self.highest or 1)
        for name, line in self.lines.items():
            yield name, " ".join(f"{x * across:.1f},{HEIGHT - y * up:.1f}" for x, y in line)

    @property
    def mark_y(self) -> float | None:
        """Where the limit is, unless it is beyond the upper edge."""
        if not self.mark or self.mark > self.highest:
            return None
        return round(HEIGHT - HEIGHT * self.mark / self.highest, 1)


def curves(samples: Sequence[Mapping[str, float]], memory: Mapping[str, Any]) -> list[Curve]:
    """The curves of a flight record: memory, cores in use, and disk traffic, but for those where there was none."""
    if len(samples) < 2:
        return []
    begin = samples[0]["at"]
    limits = {
        "limit": memory["pilotLimitKB"],
        "kernel's limit": memory["kernelLimitKB"],
        "asked for": memory["askedKB"],
    }
    mark_name, mark = next(((name, kb / 1024) for name, kb in limits.items() if kb), ("", None))
    sizes = {
        name: [(one["at"] - begin, one[key] / 1024) for one in samples]
        for name, key in (("RSS", "rss_kb"), ("PSS", "pss_kb"))
        if any(one[key] for one in samples)
    }
    cores = {"cores": _rates(samples, "cpu_seconds", 1.0)}
    disk = {"read": _rates(samples, "read_kb", 1 / 1024), "written": _rates(samples, "written_kb", 1 / 1024)}
    drawn = (
        Curve("Memory of its processes", "MB", sizes, mark, mark_name),
        Curve("Cores in use", "cores", cores),
        Curve("Disk traffic", "MB/s", disk),
    )
    return [curve for curve in drawn if any(y for line in curve.lines.values() for _, y in line)]


def _rates(samples: Sequence[Mapping[str, float]], key: str, factor: float) -> list[tuple[float, float]]:
    """How fast a figure grew from sample to sample; a pilot may say that no time passed between two."""
    found = []
    for before, after in pairwise(samples):
        seconds = after["at"] - before["at"]
        if seconds >= LEAST_SECONDS:
            found.append((after["at"] - samples[0]["at"], max(0.0, (after[key] - before[key]) * factor / seconds)))
    return found
