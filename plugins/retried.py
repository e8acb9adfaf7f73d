"""Jobs over inputs that need more than their task says, since others failed for the lack of it (manual ch. 20)."""

from __future__ import annotations

from dataclasses import replace

from ..sql.retries import Needs
from .contracts import TaskView


def raised(task: TaskView, needs: Needs) -> TaskView:
    """The task as it is for such inputs: broker, splitter and jobs go by what they need."""
    if needs == Needs():
        return task
    rule = dict(task.split_rule)
    if needs.max_files_per_job:
        key = "nFilesPerJob" if rule.get("nFilesPerJob") else "nMaxFilesPerJob"
        rule[key] = min(int(rule.get(key) or needs.max_files_per_job), needs.max_files_per_job)
    return replace(
        task,
        ram_count_mb=max(task.ram_count_mb, needs.ram_count_mb),
        max_walltime_seconds=max(task.max_walltime_seconds, needs.max_walltime_seconds),
        split_rule=rule,
    )
