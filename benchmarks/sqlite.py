"""The same life on SQLite: dispatch, generation and booking, beside the same limits on the same file."""

from __future__ import annotations

from dataclasses import dataclass

from . import dispatch, finish, generate
from .measuring import Setting
from .report import Report


@dataclass(frozen=True)
class Sizes:
    jobs: tuple[int, ...] = (10_000, 100_000)
    seconds: float = 15.0  #: for each load of dispatch


QUICK = Sizes(jobs=(1500,), seconds=1.0)


def run(setting: Setting, sizes: Sizes) -> Report:
    """Each part with the sizes given."""
    quick_or_not = (dispatch.QUICK, generate.QUICK) if setting.quick else (dispatch.Sizes(), generate.Sizes())
    loads = dispatch.Sizes(jobs=sizes.jobs, queues=quick_or_not[0].queues, seconds=sizes.seconds)
    made = generate.Sizes(files=sizes.jobs, queues=quick_or_not[1].queues, period=quick_or_not[1].period)
    parts = {
        "dispatch": dispatch.run(setting, loads),
        "generate": generate.run(setting, made),
        "finish": finish.run(setting, finish.Sizes(jobs=sizes.jobs, jobs_per_task=100)),
    }
    report = Report()
    for name, part in parts.items():
        for row in part.rows:
            report.add(f"{name}: {row.what}", row.figures)
        report.notes += [f"{name}: {note}" for note in part.notes]
        report.watched = {**report.watched, **part.watched}
        report.details |= {f"{name}: {what}": found for what, found in part.details.items()}
    return report
