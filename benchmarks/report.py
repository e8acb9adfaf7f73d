"""What a measurement found: rows of figures, shown as a table, kept as JSON and as a line of history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: A key figure that is worse than the last one by this factor is pointed at.
WORSE = 1.25


@dataclass(frozen=True)
class Row:
    """Figures of one thing, by name with unit: `{"claims/s": 812.0}`."""

    what: str
    figures: Mapping[str, float]


@dataclass
class Report:
    """What one measurement found. `watched` names the figures that history compares, with +1 where more is better."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    watched: Mapping[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, figures: Mapping[str, float]) -> Row:
        """Enter a row."""
        self.rows.append(Row(what, dict(figures)))
        return self.rows[-1]


@dataclass(frozen=True)
class Run:
    """A report with all that it depends on."""

    benchmark: str
    at: str
    quick: bool
    seed: int
    sizes: Mapping[str, Any]
    machine: Mapping[str, Any]
    database: Mapping[str, Any]
    report: Report

    def as_json(self) -> str:
        """The whole run as a JSON object."""
        return json.dumps(asdict(self), indent=1)

    def history_line(self) -> dict[str, Any]:
        """What a line of the history has of this run."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("report", "machine")}
        machine = {name: self.machine[name] for name in ("processor", "processors", "load", "python", "commit")}
        figures = {
            row.what: {name: row.figures[name] for name in self.report.watched if name in row.figures}
            for row in self.report.rows
        }
        found = {what: some for what, some in figures.items() if some}
        return {**kept, "machine": machine, "watched": self.report.watched, "figures": found}


def table(report: Report) -> str:
    """The figures as a table, a column for each name."""
    names = list(dict.fromkeys(name for row in report.rows for name in row.figures))
    cells = [["", *names]]
    cells += [[row.what, *(shown(row.figures.get(name)) for name in names)] for row in report.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join([*(line.rstrip() for line in lines), *report.notes])


def shown(value: float | None) -> str:
    """A figure with three digits that count."""
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def remember(history: Path, line: Mapping[str, Any]) -> list[str]:
    """Append a run to the history, and say how its figures compare to the last run that is comparable."""
    before = _last_like(read_history(history), line)
    history.parent.mkdir(parents=True, exist_ok=True)
    with history.open("a") as sink:
        sink.write(json.dumps(line) + "\n")
    return list(compared(before, line)) if before else ["history: the first run of its kind on such a machine"]


def read_history(path: Path) -> list[dict[str, Any]]:
    """All lines of a history; none when there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def compared(before: Mapping[str, Any], line: Mapping[str, Any]) -> Iterable[str]:
    """A line for each watched figure: its ratio to that of an earlier run, marked where it got worse."""
    watched, machine = line["watched"], before["machine"]
    yield f"history: ratios to commit {machine['commit']} of {before['at']}, load {machine['load']}"
    for what, figures in line["figures"].items():
        for name, value in figures.items():
            old = before["figures"].get(what, {}).get(name)
            if old and value:
                got_worse = (old / value if watched[name] > 0 else value / old) >= WORSE
                told = f"  {what}, {name}: {shown(old)} before, {shown(value)} now, ratio {value / old:.2f}"
                yield told + ("  WORSE" if got_worse else "")


def _last_like(lines: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((one for one in reversed(lines) if _kind(one) == _kind(line)), None)


def _kind(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What has to be the same for figures to be compared."""
    machine = line["machine"]
    return (line["benchmark"], line["sizes"], machine["processor"], machine["processors"], line["database"].get("kind"))
